"""What uses the operating system and belongs to no engine.

- ``addresses``: IP addresses between text and numbers; ``resolving``: what is a host, and names to addresses.
- ``neighbours``: what this machine reaches without a router, and who answers there.
- ``connecting``: how a TCP connection comes about; ``secure``: TLS on it, by a ``secure_socket`` or whoever else drives
  the machine in ``tls``.
- ``listening``: binding; ``accepting``: who is let in; ``shares``: how many of one address; ``proxies``: for whom a
  proxy speaks; ``closing``: resets, and sockets that linger.
- ``calls``: deadlines of blocking calls, and steps that are carried out in turn.
- ``selecting``: a wait for many sockets; ``waking``: a bell that ends it; ``latch``: threads that ended, and how;
  ``forks``: what a fork is to servers; ``interrupts``: Ctrl-C, held back for a moment.
"""
