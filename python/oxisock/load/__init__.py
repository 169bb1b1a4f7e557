"""Load tests: ``plan`` defines a load, ``calls`` runs it, ``report`` has the results, ``html_page`` is for browsers."""
