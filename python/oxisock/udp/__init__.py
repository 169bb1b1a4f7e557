"""Serving and asking over UDP: ``servers``, ``handling`` (which calls the handlers), and ``requests``."""
