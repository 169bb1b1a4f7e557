"""Uses the operating system, and belongs to no engine.

- ``addresses``: converts IP addresses between text and numbers; ``resolving``: checks hosts and finds their addresses.
- ``neighbours``: which addresses this machine reaches without a router, and which of them answer.
- ``connecting``: how a TCP connection is made; ``secure``: TLS on it, with a ``secure_socket`` or another driver of the
  machine in ``tls``.
- ``listening``: binding; ``accepting``: which newcomers are let in; ``shares``: how many from one address; ``proxies``:
  for which client a proxy speaks; ``closing``: resets, and sockets that linger.
- ``calls``: deadlines of blocking calls, and steps that are carried out in turn.
- ``selecting``: waits for many sockets; ``waking``: a bell that ends such a wait; ``latch``: waits for threads to end;
  ``forks``: tells servers about a fork; ``interrupts``: delays Ctrl-C for a moment.
"""
