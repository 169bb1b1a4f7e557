"""Serving TCP.

- ``lifecycle``: what starting, stopping, forking and dropping mean for every server; ``log``: what servers tell.
- ``servers``: limits, the echo and the message server; ``threads``: who leads, and calls the handlers.
- ``threaded``: a thread for each connection, which is a ``thread_connection``.
- ``requests``: one question, one answer; ``background``: blocking work for asyncio.
"""
