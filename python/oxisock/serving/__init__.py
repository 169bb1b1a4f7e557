"""Serving TCP.

- ``lifecycle``: what starting, stopping, forking and dropping mean for every server; ``log``: what servers tell.
- ``limits``: those of every TCP server, and what they share; ``echo``: the echo server.
- ``messages``: the message server, and who calls its handler; ``threads``: who leads, and so polls;
  ``secured``: its reactor within TLS.
- ``threaded``: a thread for each connection, which is a ``thread_connection``.
- ``watching``: what happens to the connections of a server, for somebody who watches.
- ``requests``: one question, one answer; ``background``: blocking work for asyncio.
"""
