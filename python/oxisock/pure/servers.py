"""What the pure engine offers to the TCP faces."""

from __future__ import annotations

from .echo import start_echo
from .messages import message_reactor

__all__ = ["message_reactor", "start_echo"]
