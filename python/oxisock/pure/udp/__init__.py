"""The pure UDP servers: ``loop`` receives, answers and counts."""

from .loop import udp_echo, udp_loop

__all__ = ["udp_echo", "udp_loop"]
