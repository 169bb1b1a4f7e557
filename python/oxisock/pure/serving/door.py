"""The listener of a pure server, and what it takes to survive without descriptors."""

from __future__ import annotations

import errno
import selectors
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from ...sockets.addresses import peer_of
from ...sockets.listening import Spare
from ...types import Peer

if TYPE_CHECKING:
    from collections.abc import Iterator

_BACK_OFF = 50_000_000  # nanoseconds, before accepting again when there is no descriptor even to turn people away
_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)


class Door:
    """The listener, watched by the selector only while newcomers can be let in: otherwise they wait in the backlog."""

    def __init__(self, listener: socket.socket, selector: selectors.BaseSelector) -> None:
        self.again = 0  # nobody is accepted before this time
        self.listening = False
        self.shed = 0
        self._listener = listener
        self._selector = selector
        self._spare = Spare()

    def listen(self, room: bool, now: int) -> None:
        """Watch the listener if there is ``room`` for a connection, and not before it is time again."""
        wanted = room and now >= self.again
        if wanted and not self.listening:
            self._selector.register(self._listener, selectors.EVENT_READ)
        elif self.listening and not wanted:
            self._selector.unregister(self._listener)
        self.listening = wanted

    def newcomers(self, most: int, now: int) -> Iterator[tuple[socket.socket, Peer]]:
        """Accept those who wait, at most so many; where there is no descriptor for them, they are turned away."""
        for _ in range(most):
            try:
                sock, address = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:  # gone before we came
                continue
            except OSError as error:
                if error.errno in _OUT_OF_DESCRIPTORS and self._spare.turn_away(self._listener):
                    self.shed += 1
                    continue
                self.again = now + _BACK_OFF
                return
            yield sock, peer_of(address)

    def close(self, shut_first: bool) -> None:
        """Stop listening; ``shut_first`` where a forked child holds a duplicate."""
        if self.listening:
            self._selector.unregister(self._listener)
            self.listening = False
        if shut_first:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._spare.close()

    def abandon(self) -> None:
        """Close the listener that this forked child inherited; the parent goes on with its own descriptor."""
        self._listener.close()
