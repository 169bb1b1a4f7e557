"""Scans shard by shard: the machine that gives shards out to workers, and how a plan is cut."""

from __future__ import annotations

from array import array
from collections import Counter
from types import ModuleType
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from oxisock.engines.binding import engine
from oxisock.engines.scanning import AddressRange
from oxisock.scanning.coordinating import Coordinator
from oxisock.scanning.sharding import Shards, probes_of_a_shard, shared_rate, slots_of_a_rate
from support.spreading import PLAN

EXPECTED = 10**10
NEVER = 10**18
SECOND = 10**9
EVENTS = ["finish", "fail", "again", "late failure", "time"]

# --- the machine: workers that do whatever they like -----------------------------------------------------------------


class Workers:
    """A model of what any executor may do with tasks; it knows by itself what has to become of each shard."""

    def __init__(
        self,
        shards: int,
        slots: int,
        share: bool,
        done: frozenset[int] = frozenset(),
        limit: int = 10**15,
        deadline: int = NEVER,
    ) -> None:
        self.machine = Coordinator(
            shards, slots, expected=EXPECTED, limit=limit, share=share, deadline=deadline, done=done
        )
        self.limit, self.deadline = limit, deadline
        self.shards, self.slots, self.share, self.done = shards, slots, share, done
        self.out: dict[int, int] = {}
        self.late: dict[int, int] = {}
        self.since: dict[int, int] = {}
        self.limits: dict[int, int] = {}
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
            assert 0 < task.limit == min(self.limit, self.deadline - self.now)
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
            self.limits[task.number] = task.limit
            self.given[task.shard] += 1
            assert self.busy() <= self.slots

        if self.busy() < self.slots and self.now < self.deadline:
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
        lost = self.machine.failed(number, "Name", self.now)
        assert lost == ((shard, "Name") if self.is_lost_by_a_failure(shard) else None)

    def is_lost_by_a_failure(self, shard: int | None) -> bool:
        """Note that a task of a shard failed that is out no more."""
        if shard is None or shard in self.settled or self.now >= self.deadline:
            return False
        self.failures[shard] += 1
        if self.failures[shard] < 3 or shard in self.out.values():
            return False
        self.settled[shard] = "lost"
        self.waited[shard] = 0
        return True

    def wait(self, seconds: int) -> None:
        """Time goes by. Who takes a minute, or four times as long as any other did, is late: twice that next time.

        Who takes twice as long as it may has failed.
        """
        self.now += seconds * 10**9
        patience = max(60 * 10**9, 4 * self.longest)
        late = [
            number for number, shard in self.out.items()
            if self.now - self.since[number] >= patience * 2 ** self.waited[shard]
        ]  # fmt: skip
        for number in late:
            self.late[number] = self.out.pop(number)
        self.waited.update(self.late[number] for number in late if self.late[number] not in self.settled)
        self.beside.update(self.late[number] for number in late)
        gone = [
            number for number in (*self.out, *self.late) if self.now - self.since[number] >= 2 * self.limits[number]
        ]
        lost = []
        for number in gone:
            self.since.pop(number)
            shard = self.out.pop(number, self.late.pop(number, None))
            if self.is_lost_by_a_failure(shard):
                lost.append((shard, "TimeoutError"))
        assert self.machine.passed(self.now) == (late, gone, lost)


@given(
    st.integers(1, 12),
    st.integers(1, 5),
    st.booleans(),
    st.sets(st.integers(0, 11)),
    st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 100)), max_size=80),
    st.sampled_from([10**15, 10**15, 40 * 10**9, 150 * 10**9]),
    st.sampled_from([NEVER, NEVER, 300 * 10**9]),
)
def test_every_shard_ends_once_whatever_workers_do(
    shards: int, slots: int, share: bool, done: set[int], events: list[tuple[str, int]], limit: int, deadline: int
) -> None:
    world = Workers(shards, slots, share, frozenset(n for n in done if n < shards), limit, deadline)
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
    if world.now >= deadline:
        assert world.machine.next(world.now) is None
        return
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
        lost = world.machine.failed(number, "Name", world.now)
        copies = [other for key, other in world.out.items() if other == shard and key != number]
        world.out.pop(number)
        assert (lost is None) is (bool(copies) or shard in world.settled)
        if lost:
            world.settled[shard] = "lost"
    assert world.machine.over


def coordinator(shards: int, slots: int, **more: Any) -> Coordinator:
    options: dict[str, Any] = {"expected": EXPECTED, "limit": 10**15, "share": False}
    return Coordinator(shards, slots, **(options | more))


def test_what_is_left_has_three_copies_at_most_and_the_first_that_ends_counts() -> None:
    machine = coordinator(1, 5)
    given = []
    for step in range(10):
        while task := machine.next(step * EXPECTED):
            given.append((step, task.number))
    assert given == [(0, 0), (1, 1), (2, 2)]
    assert machine.finished(1, 3 * EXPECTED)
    assert machine.over
    assert not machine.finished(0, 3 * EXPECTED)


def test_a_copy_waits_half_as_long_again_as_the_longest_task_took() -> None:
    now = 20 * SECOND
    machine = coordinator(3, 2)
    for seconds in (20, 2):
        task = machine.next(0)
        assert task is not None
        assert machine.finished(task.number, seconds * SECOND)
    last = machine.next(now)
    assert last is not None
    assert machine.next(now + 29 * SECOND) is None
    copy = machine.next(now + 30 * SECOND)
    assert copy is not None
    assert copy.shard == last.shard


def test_what_failed_first_is_given_out_again_first() -> None:
    machine = coordinator(3, 3)
    tasks = [task for _ in range(3) if (task := machine.next(0))]
    for number in (1, 2, 0):
        assert machine.failed(tasks[number].number, "Name", 0) is None
    again = [task.shard for _ in range(3) if (task := machine.next(0))]
    assert again == [tasks[number].shard for number in (1, 2, 0)]


def test_at_the_end_of_its_time_a_scan_loses_nothing() -> None:
    machine = coordinator(2, 1, deadline=100)
    for now in (0, 50, 99):
        task = machine.next(now)
        assert task is not None
        assert task.limit == 100 - now
        assert machine.failed(task.number, "TimeoutError", now + (1 if now == 99 else 0)) is None
    assert machine.next(100) is None


def test_a_broken_executor_leaves_alone_what_was_done_before() -> None:
    machine = coordinator(5, 1, done=frozenset({1, 3}))
    task = machine.next(0)
    assert task is not None
    assert list(machine.broken()) == [2, 4]
    assert machine.failed(task.number, "Name", 0) == (0, "Name")
    assert machine.over


def test_a_scan_that_was_stopped_is_over_when_what_is_out_is_back() -> None:
    machine = coordinator(5, 2)
    tasks = [task for _ in range(2) if (task := machine.next(0))]
    machine.stop()
    assert machine.next(0) is None
    for task in tasks:
        assert not machine.over
        machine.finished(task.number, 1)
    assert machine.over


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
        # A part of the ports of a host must not be skipped because that part is silent.
        assert shard.plan.of_many == (len(addresses) > 1 and len(shard.plan.ports) == len(ports))
        own = [address for each in shard.plan.ranges for address in range(each.first, each.last + 1)]
        assert own == addresses[shard.first_host : shard.first_host + len(own)]
        assert shard.total == len(own) * len(shard.plan.ports)
        assert shard.total <= max(probes, 1)
        assert shard.plan.first_ports <= len(shard.plan.ports)
        asked += [(address, port) for address in own for port in shard.plan.ports]
    assert sorted(asked) == sorted((address, port) for address in addresses for port in ports)


@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(1, 50),
    st.integers(2, 5),
    st.booleans(),
    st.integers(0, 60),
    st.sampled_from([0, 9, 2**64 - 1]),
)
def test_shards_of_a_part_of_the_order_are_what_the_part_is(
    impl: ModuleType, hosts: int, ports: int, probes: int, of: int, random_order: bool, first: int, seed: int
) -> None:
    ranges = [AddressRange(4, 1, hosts)]
    plan = PLAN._replace(ranges=ranges, ports=array("H", range(1, ports + 1)), first_ports=min(first, ports))
    asked_ports = engine(impl.impl).scanning.asked_ports
    for part in range(of):
        whole = plan._replace(shard=part, shards=of, random=random_order, seed=seed)
        expected = [(host, port) for host, own in enumerate(asked_ports(whole, range(hosts))) for port in own]
        shards = Shards(whole, probes)
        found = []
        for number in range(shards.count):
            shard = shards[number]
            assert shard.total <= min(probes, shards.largest.total + 1)
            own = asked_ports(shard.plan, range(shard.hosts))
            assert sum(map(len, own)) == shard.total
            found += [(shard.first_host + host, port) for host, its in enumerate(own) for port in its]
        assert sorted(found) == sorted(expected)
        assert len(expected) == len(range(part, hosts * ports, of))


# --- how a rate is shared ---------------------------------------------------------------------------------------------


@given(st.integers(1000, 10**11), st.integers(1, 10**6), st.integers(1, 10_000))
def test_tasks_that_share_a_rate_all_have_work_and_keep_it(interval: int, total: int, wanted: int) -> None:
    slots = slots_of_a_rate(interval, total, wanted)
    assert 1 <= slots <= wanted
    plan = PLAN._replace(interval=interval)
    shared = shared_rate(plan, slots)
    assert shared.first_send == shared.interval
    # Whatever the moments of their probes: in a second that begins and ends anywhere each sends one more than fit in.
    in_a_second = slots * -(-SECOND // shared.interval)
    assert in_a_second <= max(1, -(-SECOND // interval))
    assert slots / shared.interval >= 0.94 / interval, "and no rate is wasted"
    probes = probes_of_a_shard(plan, total, slots)
    assert 1 <= probes <= 1 << 15
    tasks = -(-total // probes)
    assert tasks >= 0.9 * slots
    assert probes * shared.interval <= 11 * SECOND or probes <= 16
    rounds = -(-tasks // slots)
    assert tasks > (rounds - 1) * slots
