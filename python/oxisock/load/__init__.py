"""A load on a server: ``plan`` says what a load is, and what came of it."""
