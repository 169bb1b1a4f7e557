"""The pure TCP servers.

- ``connection``: the machine of one connection: limits, timeouts, drain.
- ``reactor``: the loop that drives all connections of a server; ``newcomers``: how they come in; ``reactors``: all
  loops of a server, and what other threads may ask of them; ``service``: what a service on a loop has to know.
- ``journal``: what happened to connections, for somebody who watches.
- ``echo``, ``messages``: the services on it.
"""

from .echo import start_echo
from .messages import message_reactor

__all__ = ["message_reactor", "start_echo"]
