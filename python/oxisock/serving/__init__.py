"""Serving TCP.

- ``lifecycle``: what starting, stopping, forking and dropping do for every server; ``log``: the log messages.
- ``limits``: the limits of every TCP server, and the base class of servers with limits; ``echo``: the echo server.
- ``messages``: the message server, and the calls of its handler; ``threads``: which thread polls and which ones handle;
  ``secured``: its reactor with TLS.
- ``threaded``: a server with a thread for each connection; ``thread_connection``: the connection of such a thread.
- ``watching``: reports what happens to the connections of a server.
- ``requests``: one request and one answer; ``background``: blocking work for asyncio.
"""
