"""Accepts connections: turns newcomers away if there are no descriptors, and backs off if nothing else helps."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from ..engines.serving import NEVER
from .addresses import network_of, number_of, peer_of
from .closing import shut_down
from .shares import Shares

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..engines.serving import ServerPlan
    from ..types import Peer

_BACK_OFF = 50_000_000  # nanoseconds before the next accept, when a resource is missing
_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)


class Door:
    """A non-blocking listener, and a descriptor in reserve. Times are nanoseconds of one clock."""

    def __init__(self, listener: socket.socket, plan: ServerPlan) -> None:
        self.listener = listener
        self.again = 0  # nothing is accepted before this time
        self.shed = 0  # newcomers turned away because there were no free descriptors
        self.rejected = 0  # newcomers turned away because their address had too many connections
        self._counting = threading.Lock()
        self._proxies = plan.proxies
        self._shares = None if plan.max_per_address == NEVER else Shares(plan.max_per_address)
        self._spare = _Spare()

    def newcomers(self, most: int, now: int, until: int = NEVER) -> Iterator[tuple[socket.socket, Peer]]:
        """Accept waiting newcomers, at most ``most``, and not past ``until``.

        Newcomers for whom there is no descriptor are turned away.
        """
        for number in range(most):
            if number and time.monotonic_ns() >= until:
                return
            try:
                sock, address = self.listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:  # it has gone already
                continue
            except OSError as error:
                if error.errno in _OUT_OF_DESCRIPTORS and self._spare.turn_away(self.listener):
                    self.shed += 1
                    continue
                self.back_off(now)
                return
            peer = peer_of(address)
            # The client behind a proxy is known only after the header.
            if not self.is_proxy(peer) and not self.admit(peer):
                sock.close()
                continue
            sock.setblocking(False)
            yield sock, peer

    def admit(self, peer: Peer) -> bool:
        """Count a connection and return True; if its address has too many, count a rejection and return False."""
        if self._shares is None or self._shares.take(network_of(peer.host)):
            return True
        with self._counting:
            self.rejected += 1
        return False

    def is_proxy(self, peer: Peer) -> bool:
        """Return whether a connection from there begins with a PROXY header. It is admitted after the header."""
        if not self._proxies:
            return False
        number = number_of(peer.host)
        return any(first <= number <= last for first, last in self._proxies)

    def left(self, peer: Peer) -> None:
        """Note that an admitted connection has ended."""
        if self._shares is not None:
            self._shares.give_back(network_of(peer.host))

    def back_off(self, now: int) -> None:
        """Accept nothing for a while, because a missing resource may come back."""
        self.again = now + _BACK_OFF

    def close(self, shut_first: bool = False) -> None:
        """Stop listening. ``shut_first``: shut down before closing, because a forked child holds a duplicate."""
        if shut_first:
            shut_down(self.listener)
        self.listener.close()
        self._spare.close()

    def abandon(self) -> None:
        """Close the listener that this forked child inherited; the parent keeps its own descriptor."""
        self.listener.close()


class WatchedDoor(Door):
    """A door that a selector watches only while newcomers can be let in; otherwise they wait in the backlog."""

    def __init__(self, listener: socket.socket, plan: ServerPlan, selector: selectors.BaseSelector) -> None:
        super().__init__(listener, plan)
        self.listening = False
        self._selector = selector

    def listen(self, room: bool, now: int) -> None:
        """Watch the listener if there is ``room`` for a connection and the time to accept again has come."""
        wanted = room and now >= self.again
        if wanted and not self.listening:
            try:
                self._selector.register(self.listener, selectors.EVENT_READ)
            except OSError:  # the system cannot watch more sockets
                self.back_off(now)
                return
        elif self.listening and not wanted:
            self._selector.unregister(self.listener)
        self.listening = wanted

    def close(self, shut_first: bool = False) -> None:
        """Stop listening. ``shut_first``: shut down before closing, because a forked child holds a duplicate."""
        if self.listening:
            self._selector.unregister(self.listener)
            self.listening = False
        super().close(shut_first)


class _Spare:
    """A descriptor in reserve, so that newcomers can be turned away when there are no free descriptors."""

    def __init__(self) -> None:
        self._descriptor = os.open(os.devnull, os.O_RDONLY)

    def turn_away(self, listener: socket.socket) -> bool:
        """Accept one newcomer in place of the spare descriptor and close it; return False if that is not possible."""
        if self._descriptor < 0:
            try:
                self._descriptor = os.open(os.devnull, os.O_RDONLY)
            except OSError:
                return False
        self.close()
        try:
            listener.accept()[0].close()
        except OSError:
            turned_away = False
        else:
            turned_away = True
        with suppress(OSError):
            self._descriptor = os.open(os.devnull, os.O_RDONLY)
        return turned_away

    def close(self) -> None:
        """Close the descriptor."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
