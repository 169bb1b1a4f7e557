"""The pure UDP servers: ``datagrams`` receives, answers and counts."""

from .datagrams import start_udp_echo, udp_reactor

__all__ = ["start_udp_echo", "udp_reactor"]
