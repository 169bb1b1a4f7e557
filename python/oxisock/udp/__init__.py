"""Serving and asking over UDP: ``servers`` has the servers and the request, ``handling`` calls the handlers."""
