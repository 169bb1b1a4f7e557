"""The pure scanner.

- ``engine``: the machine that decides what to ask and what an answer means; ``host``: what it knows of one host;
  ``crowd``: what hosts have in common; ``path``: what the way to them bears, as far as ``witnesses`` tell;
  ``addresses``: hosts by number; ``permutation``: the order in which ports are asked.
- ``driver``: carries out what the machine decides; ``connections``: the sockets for that; ``lasting``: those of
  Linux, which are used again.
"""

from .driver import start_scan
from .engine import ScanEngine
from .permutation import asked_ports

__all__ = ["ScanEngine", "asked_ports", "start_scan"]
