"""A load on a server: ``plan`` says what a load is, ``calls`` carries it out, ``report`` says what came of it;
``html_page`` shows it in a browser."""
