"""Handlers that many tests have in common."""

from __future__ import annotations

from typing import Any


def upper(message: bytes, peer: object) -> bytes:
    return message.upper()


def upper_batch(batch: list[tuple[bytes, Any]]) -> list[bytes]:
    return [message.upper() for message, _ in batch]


def echo_by_hand(conn: Any, peer: object) -> None:
    while data := conn.recv(4096):
        conn.sendall(data)
