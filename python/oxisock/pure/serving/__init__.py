"""The pure TCP servers.

- ``connection``: the machine of one connection: limits, timeouts, drain.
- ``reactor``: the loop that drives all connections of a server; ``newcomers``: how they come in; ``reactors``: all
  loops of a server, and what other threads may ask of them; ``service``: the base class of a loop's services.
- ``journal``: keeps what happened to connections, if anybody watches.
- ``echo``, ``messages``: the services.
"""

from .echo import start_echo
from .messages import message_reactor

__all__ = ["message_reactor", "start_echo"]
