"""The pure chat server.

- ``hub``: the machine that decides who hears what; ``nicks``: what it lets somebody be called; ``porter``: the machine
  that decides who may come in; ``replica``: the hub of a room that many nodes share.
- ``service``: carries lines between the hub and the connections of a reactor.
"""

from .service import start_chat

__all__ = ["start_chat"]
