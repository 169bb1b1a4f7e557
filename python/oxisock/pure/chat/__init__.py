"""The pure chat server.

- ``hub``: the machine that decides who gets which line; ``nicks``: which nicks are allowed; ``porter``: the machine
  that decides who may come in; ``replica``: the hub of a room that many nodes share.
- ``service``: carries lines between the hub and the connections of a reactor.
"""

from .service import start_chat

__all__ = ["start_chat"]
