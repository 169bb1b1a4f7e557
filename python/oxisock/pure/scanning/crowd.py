"""What hosts have in common: the links of this machine that they are on, the networks whose round trips they share."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque

from ...engines.scanning import ScanPlan
from .addresses import Addresses
from .host import MS, Host

_HELD = 3200 * MS
"""For so long the kernel keeps asking the link for an address of which nobody answers."""

_SHORTEST_WAIT = 100 * MS
_NETWORKS = 64


class _Table:
    """How many addresses the neighbour table is being asked for. The kernel has one for each IP version."""

    def __init__(self, capacity: int) -> None:
        self.capacity = max(1, capacity)
        self.held = 0
        self.until: deque[tuple[int, int]] = deque()  # (time, host number)
        self.early: set[int] = set()  # those of `until` that are held no longer

    def clear(self, now: int) -> None:
        while self.until and (self.until[0][0] <= now or self.until[0][1] in self.early):
            _, index = self.until.popleft()
            if index in self.early:
                self.early.remove(index)
            else:
                self.held -= 1


class Crowd:
    """The hosts of a scan, seen together."""

    def __init__(self, plan: ScanPlan) -> None:
        self._timeout = plan.timeout
        self._addresses = Addresses(plan.ranges)
        self._links = plan.links
        self._firsts = [link.first for link in plan.links]
        tables: dict[int, _Table] = {}  # by IP version
        self._tables = [
            tables.setdefault(self._addresses.network(link.first)[0], _Table(link.capacity)) for link in plan.links
        ]  # of the links
        self._networks: dict[tuple[int, int], dict[int, int]] = {}  # the timeouts of heard hosts, by number
        self._slowest: dict[tuple[int, int], int] = {}  # the longest of each network

    # --- links

    def has_room(self, index: int, now: int) -> bool:
        """Return whether the neighbour table bears this host now."""
        number = self._link(index)
        if number < 0:
            return True
        table = self._tables[number]
        table.clear(now)
        return table.held < table.capacity

    def room_at(self, index: int) -> int:
        """Return when there will be room for this host, -1 where nothing is in its way."""
        number = self._link(index)
        if number < 0 or self._tables[number].held < self._tables[number].capacity:
            return -1
        return self._tables[number].until[0][0]

    def enter(self, host: Host, now: int) -> None:
        """Note that a host is about to be asked."""
        host.network = self._addresses.network(host.index)
        host.link = self._link(host.index)
        if host.link >= 0:
            table = self._tables[host.link]
            table.held += 1
            host.held_until = now + _HELD
            table.until.append((host.held_until, host.index))

    def settled(self, host: Host, now: int) -> None:
        """Note that the neighbour table knows this host."""
        if now < host.held_until:
            host.held_until = -1
            table = self._tables[host.link]
            table.early.add(host.index)
            table.held -= 1

    def _link(self, index: int) -> int:
        number = bisect_right(self._firsts, index) - 1
        return number if number >= 0 and index <= self._links[number].last else -1

    # --- networks

    def heard(self, network: tuple[int, int], index: int, timeout: int) -> bool:
        """Note the timeout of a host that answers; say whether it is the first of its network."""
        members = self._networks.get(network)
        if members is None:
            self._networks[network] = {index: timeout}
            self._slowest[network] = timeout
            if len(self._networks) > _NETWORKS:
                oldest = next(iter(self._networks))
                del self._networks[oldest], self._slowest[oldest]
            return True
        before = members.get(index, -1)
        members[index] = timeout
        slowest = self._slowest[network]
        if timeout > slowest:
            self._slowest[network] = timeout
        elif timeout < before == slowest:
            self._slowest[network] = max(members.values())
        return False

    def wait(self, network: tuple[int, int]) -> int:
        """Return how long a silent host of a network is listened to: twice what its slowest neighbour is given."""
        slowest = self._slowest.get(network)
        return self._timeout if slowest is None else min(self._timeout, max(_SHORTEST_WAIT, 2 * slowest))

    def patience(self, host: Host) -> int:
        """Return how long a probe to a host that is not heard yet has before its port is asked again.

        It listens for the whole timeout in any case. On a link it has to wait for the neighbour table, too.
        """
        heard = host.link < 0 and host.network in self._slowest
        return self.wait(host.network) // 2 if heard else self._timeout
