"""Errors as Windows has them: Winsock's numbers, unknown to Python's own words, and those of asyncio's proactor."""

from __future__ import annotations

import errno
import os
import socket
import sys

import pytest

from oxisock import Peer
from oxisock.errors import errno_words
from oxisock.sockets.connecting import refused

THERE = Peer("10.0.0.1", 80)


def test_words_are_the_systems() -> None:
    assert errno_words(errno.EBADF) == os.strerror(errno.EBADF)
    assert "nknown" not in errno_words(errno.ECONNREFUSED)


def test_winsocks_numbers_have_words_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(socket, "errorTab", {10061: "Connection refused."}, raising=False)
    assert errno_words(10061) == "Connection refused"
    assert errno_words(10999) == "Winsock error 10999"
    assert errno_words(errno.EBADF) == os.strerror(errno.EBADF)


@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [
        (1225, ConnectionRefusedError, errno.ECONNREFUSED),
        (1231, OSError, errno.ENETUNREACH),
        (1232, OSError, errno.EHOSTUNREACH),
        (121, TimeoutError, errno.ETIMEDOUT),
        (64, ConnectionResetError, errno.ECONNRESET),
        (1236, ConnectionAbortedError, errno.ECONNABORTED),
    ],
)
def test_the_proactors_numbers_are_told_as_errno(number: int, kind: type[OSError], code: int) -> None:
    error = OSError(errno.EINVAL, "the proactor's words")
    error.winerror = number  # type: ignore[attr-defined]
    told = refused(THERE, error)
    assert (type(told), told.errno, told.strerror) == (kind, code, f"10.0.0.1:80: {errno_words(code)}")
