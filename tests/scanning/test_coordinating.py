"""Scans shard by shard: the machine that gives shards out to workers, and how a plan is cut."""

from __future__ import annotations

from array import array
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from oxisock.engines.scanning import AddressRange
from oxisock.scanning.coordinating import Coordinator
from oxisock.scanning.sharding import Shards
from support.spreading import PLAN

EXPECTED = 10**10
EVENTS = ["finish", "fail", "again", "late failure", "time"]

# --- the machine: workers that do whatever they like -----------------------------------------------------------------


class Workers:
    """A model of what any executor may do with tasks; it knows by itself what has to become of each shard."""

    def __init__(self, shards: int, slots: int, share: bool, done: frozenset[int] = frozenset()) -> None:
        self.machine = Coordinator(shards, slots, EXPECTED, share, done)
        self.shards, self.slots, self.share, self.done = shards, slots, share, done
        self.out: dict[int, int] = {}
        self.late: dict[int, int] = {}
        self.since: dict[int, int] = {}
        self.longest = self.now = 0
        self.waited: Counter[int] = Counter()
        self.beside: Counter[int] = Counter()
        self.last: dict[int, int] = {}
        self.given: Counter[int] = Counter()
        self.failures: Counter[int] = Counter()
        self.settled: dict[int, str] = dict.fromkeys(done, "before")
        self.used: set[int] = set()

    def give_out(self) -> None:
        """Take what the machine gives; nothing twice, nothing that is settled, never more than there are slots."""
        while (task := self.machine.next(self.now)) is not None:
            assert task.number not in self.used
            assert task.shard not in self.settled
            copies = list(self.out.values()).count(task.shard)
            assert copies < 3
            if copies:
                assert self.worth_a_copy(task.shard)
                assert len(set(self.given) | self.done) == self.shards, "nothing else is left to do"
            self.last[task.shard] = self.now
            self.used.add(task.number)
            self.out[task.number] = task.shard
            self.since[task.number] = self.now
            self.given[task.shard] += 1
            assert self.busy() <= self.slots

        if self.busy() < self.slots:
            assert not any(map(self.worth_a_copy, self.out.values()))

    def busy(self) -> int:
        """Say how many slots are taken: those of late tasks too where all share a rate."""
        return len(self.out) + (len(self.late) if self.share else 0)

    def worth_a_copy(self, shard: int) -> bool:
        """Say whether a second or third task is to ask a shard: half as long again as any task took has gone by."""
        if shard in self.settled or self.failures[shard] >= 3 or list(self.out.values()).count(shard) >= 3:
            return False
        return self.now - self.last[shard] >= (self.longest + self.longest // 2 or EXPECTED)

    def finish(self, number: int) -> None:
        """A task gives its results, once more or for the first time."""
        if number in self.since:
            self.longest = max(self.longest, self.now - self.since.pop(number))
        shard = self.out.pop(number, self.late.pop(number, None))
        counts = shard is not None and shard not in self.settled
        assert self.machine.finished(number, self.now) is counts
        if counts:
            self.settled[shard] = "finished"
            self.waited[shard] = 0

    def fail(self, number: int) -> None:
        """A task fails, in whatever way."""
        self.since.pop(number, None)
        shard = self.out.pop(number, self.late.pop(number, None))
        lost = self.machine.failed(number, "Name")
        if shard is None or shard in self.settled:
            assert lost is None
            return
        self.failures[shard] += 1
        final = self.failures[shard] >= 3 and shard not in self.out.values()
        assert (lost is not None) is final
        if lost is not None:
            assert lost == (shard, "Name")
            self.settled[shard] = "lost"
            self.waited[shard] = 0

    def wait(self, seconds: int) -> None:
        """Time goes by. Who takes a minute, or four times as long as any other did, is late: twice that next time."""
        self.now += seconds * 10**9
        patience = max(60 * 10**9, 4 * self.longest)
        late = [
            number for number, shard in self.out.items()
            if self.now - self.since[number] >= patience * 2 ** self.waited[shard]
        ]  # fmt: skip
        assert self.machine.late(self.now) == late
        for number in late:
            self.late[number] = self.out.pop(number)
        self.waited.update(self.late[number] for number in late if self.late[number] not in self.settled)
        self.beside.update(self.late[number] for number in late)


@given(
    st.integers(1, 12),
    st.integers(1, 5),
    st.booleans(),
    st.sets(st.integers(0, 11)),
    st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 100)), max_size=80),
)
def test_every_shard_ends_once_whatever_workers_do(
    shards: int, slots: int, share: bool, done: set[int], events: list[tuple[str, int]]
) -> None:
    world = Workers(shards, slots, share, frozenset(number for number in done if number < shards))
    world.give_out()
    for event, which in events:
        if event == "finish" and world.out:
            world.finish(sorted(world.out)[which % len(world.out)])
        elif event == "fail" and world.out:
            world.fail(sorted(world.out)[which % len(world.out)])
        elif event == "again" and world.used:  # a task that is over, or that never was
            world.machine.finished(max(world.used) + 1 + which, world.now)
            over = sorted(world.used - set(world.out))
            if over:
                world.finish(over[which % len(over)])
        elif event == "late failure" and world.used:
            over = sorted(world.used - set(world.out))
            if over:
                world.fail(over[which % len(over)])
        elif event == "time":
            world.wait(5 * which)
        world.give_out()
    # From here on all goes well: whatever is left comes to an end.
    while (under_way := world.out or world.late) and not world.machine.over:
        world.finish(min(under_way))
        world.give_out()
    assert world.machine.over
    assert set(world.settled) == set(range(shards))
    assert all(world.given[shard] <= 5 + world.beside[shard] for shard in range(shards)), "three tries, and two copies"


@given(
    st.integers(1, 12),
    st.integers(1, 5),
    st.booleans(),
    st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 9))),
)
def test_a_broken_executor_settles_what_is_not_out(
    shards: int, slots: int, share: bool, events: list[tuple[bool, bool, int]]
) -> None:
    world = Workers(shards, slots, share)
    world.give_out()
    for fails, gives_out, which in events:
        if which == 9:
            world.wait(70)
        elif world.out:
            (world.fail if fails else world.finish)(sorted(world.out)[which % len(world.out)])
        if gives_out:
            world.give_out()
    left = set(range(shards)) - set(world.settled) - set(world.out.values())
    assert sorted(world.machine.broken()) == sorted(left)
    assert world.machine.next(world.now) is None
    for number, shard in list(world.out.items()):
        lost = world.machine.failed(number, "Name")
        copies = [other for key, other in world.out.items() if other == shard and key != number]
        world.out.pop(number)
        assert (lost is None) is (bool(copies) or shard in world.settled)
        if lost:
            world.settled[shard] = "lost"
    assert world.machine.over


# --- how a plan is cut ------------------------------------------------------------------------------------------------


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=5),
    st.sets(st.integers(1, 65535), min_size=1, max_size=60),
    st.integers(1, 300),
    st.booleans(),
    st.integers(0, 2**64 - 1),
)
def test_shards_are_disjoint_and_complete(
    sizes: list[int], ports: set[int], probes: int, random_order: bool, seed: int
) -> None:
    ranges = [AddressRange(4, 1000 * n, 1000 * n + size - 1) for n, size in enumerate(sizes)]
    plan = PLAN._replace(ranges=ranges, ports=array("H", sorted(ports)), first_ports=3, random=random_order, seed=seed)
    shards = Shards(plan, probes)
    addresses = [address for each in ranges for address in range(each.first, each.last + 1)]
    asked: list[tuple[int, int]] = []
    for number in range(shards.count):
        shard = shards[number]
        own = [address for each in shard.plan.ranges for address in range(each.first, each.last + 1)]
        assert own == addresses[shard.first_host : shard.first_host + len(own)]
        assert shard.total == len(own) * len(shard.plan.ports)
        assert shard.total <= max(probes, 1)
        assert shard.plan.first_ports <= len(shard.plan.ports)
        asked += [(address, port) for address in own for port in shard.plan.ports]
    assert sorted(asked) == sorted((address, port) for address in addresses for port in ports)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 50), st.integers(1, 5), st.data())
def test_parts_of_a_part_of_the_order_are_disjoint_and_complete(
    hosts: int, ports: int, probes: int, of: int, data: st.DataObject
) -> None:
    part = data.draw(st.integers(0, of - 1))
    plan = PLAN._replace(ranges=[AddressRange(4, 1, hosts)], ports=array("H", range(1, ports + 1)))
    plan = plan._replace(shard=part, shards=of)
    if of == 1:
        return
    shards = Shards(plan, probes)
    places = [p for n in range(shards.count) for p in range(shards[n].plan.shard, hosts * ports, shards[n].plan.shards)]
    assert sorted(places) == list(range(part, hosts * ports, of))
    assert sum(shards[n].total for n in range(shards.count)) == len(places)
    assert all(shards[n].total <= probes for n in range(shards.count))
