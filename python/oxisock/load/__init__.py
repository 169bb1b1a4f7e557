"""A load on a server: ``plan`` says what a load is, ``report`` what came of it."""
