"""What a node of a shared room decides, against a model of Redis that loses, delays and repeats what it is told."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from oxisock.chat.backplane.machine import PATIENCE, Answer, Backplane, Call, Entered, Entry
from oxisock.engines.chat import HubPlan
from oxisock.engines.serving import NEVER
from oxisock.pure.chat.replica import Replica
from support.room_log import RoomLog

LEASE = 10_000
MS = 1_000_000
PLAN = HubPlan("den", 100, 4096, 0, 1 << 18, False, 0, 1, NEVER, True, False, shared=True)


Wire = tuple[str, str, tuple[Any, ...], Call]


def written(place: tuple[int, int]) -> str:
    return f"{place[0]}-{place[1]}"


def place(written: str) -> tuple[int, int]:
    major, minor = map(int, written.split("-"))
    return major, minor


def execute(log: RoomLog, node: str, epoch: str, common: tuple[Any, ...], call: Call) -> Entered | Answer:
    """Do what the scripts do."""
    arguments: list[Any] = list(call.arguments)
    known = (place(common[1]), common[2])
    match call.script:
        case "enter":
            number, name, _, *flat = arguments
            here = [tuple(flat[at : at + 4]) for at in range(0, len(flat), 4)]
            answer = log.enter(node, number, LEASE, epoch=epoch, known=known, name=name, here=here)
        case "append":
            items = [arguments[at : at + 4] for at in range(1, len(arguments), 4)]
            answer = log.append(node, epoch, arguments[0], LEASE, items, known)
        case "tend":
            answer = log.tend(node, epoch, LEASE, known)
        case "leave":
            answer = log.leave(node, epoch)
        case _:
            return Answer("ok")
    common_part = Answer(*answer[:3], written(answer.last))
    if call.script != "enter" or answer.status != "ok":
        return common_part
    members = [("member", at, client, nick, where, when) for at, client, nick, when, where in answer.there]
    return Entered(common_part, answer.epoch, answer.whole, answer.batch, members, [])


class Server:
    """A machine, a hub whose sockets take everything, and a driver that the test turns by hand."""

    def __init__(self, world: World, base: str) -> None:
        self.world = world
        self.machine = Backplane(base, LEASE * MS, 0, world.now)
        self.hub = Replica(PLAN)
        self.wire: Wire | None = None  # a call that has not been executed
        self.answer: Entered | Answer | None = None  # one that was, and has not arrived
        self.heard: dict[int, list[str]] = {}
        self.closed: set[int] = set()
        self.frozen = False

    def act(self, name: str, *arguments: Any) -> None:
        getattr(self.hub, name)(*arguments)
        self.settle()

    def settle(self) -> None:
        fenced = False
        for _ in range(5):
            for client, last, _ in self.hub.take_closes():
                self.keep(client, last)
                assert client not in self.closed
                # Nobody but a node that was taken for dead parts with those who want to stay.
                assert fenced or b"* server is closing" not in last
                self.closed.add(client)
            for client in self.hub.take_dirty():
                self.keep(client, self.hub.take(client))
            self.hub.take_pressed()
            self.machine.proposed(self.hub.take_appends(), self.world.now)
            news = self.machine.take_news()
            for entry in news:
                self.hub.entry(entry)
            fenced = any(entry[0] == "fenced" for entry in news)
            if not news:
                break
        self.machine.take_notices()

    def keep(self, client: int, data: bytes) -> None:
        self.heard.setdefault(client, []).extend(data.decode().split("\n")[:-1])

    def send(self) -> None:
        if self.machine.tick(self.world.now):
            self.wire = self.answer = None
        call = self.machine.next_call(self.world.now)
        if call is not None:
            self.wire = (self.machine.node, self.machine.epoch, self.machine.common(), call)
            self.answer = None
        self.settle()

    def execute(self) -> None:
        if self.wire is not None:
            self.world.old.append(self.wire)
            self.answer = execute(self.world.log, *self.wire)
            self.wire = None

    def arrive(self) -> None:
        if self.answer is not None:
            answer, self.answer = self.answer, None
            self.machine.answered(answer, self.world.now)
            self.settle()

    def cut(self) -> None:
        if self.wire is not None:
            self.world.old.append(self.wire)  # it may be executed yet
        self.wire = self.answer = None
        self.machine.broken("cut", self.world.now)
        self.settle()

    def read(self, count: int = 1 << 30) -> None:
        where = self.machine.reading()
        if where is None:
            return
        generation, last = where
        found = [
            Entry(written(entry.id), entry.serial, written(entry.before), entry.fields)
            for entry in self.world.log.entries
            if entry.id > place(last)
        ]
        self.machine.read(generation, found[:count], self.world.now)
        self.settle()


class World(RuleBasedStateMachine):
    """Three servers, one log, and everything that may go wrong between them."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.log = RoomLog()
        self.log.seen = self.log.now
        self.old: list[Wire] = []
        self.servers = [Server(self, name) for name in "abc"]
        self.clients = 0
        self.said: dict[str, tuple[Server, int]] = {}
        self.wanted: dict[tuple[Server, int], int] = {}
        self.lost = False

    @initialize(clients=st.lists(st.integers(0, 2), max_size=4))
    def begin(self, clients: list[int]) -> None:
        for at in clients:
            self.join(at)
        self.all_well()

    @rule()
    def all_well(self) -> None:
        for _ in range(2):
            for server in self.servers:
                self.turn(server, 3)

    @rule(at=st.integers(0, 2))
    def join(self, at: int) -> None:
        self.servers[at].act("joined", self.clients, self.now, "127.0.0.1 1")
        self.clients += 1  # the first is 0

    @precondition(lambda self: self.clients)
    @rule(at=st.integers(0, 2), data=st.data())
    def say(self, at: int, data: Any) -> None:
        server = self.servers[at]
        if server.hub._clients:
            client = data.draw(st.sampled_from(sorted(server.hub._clients)))
            text = f"line {len(self.said)}"
            if client not in server.hub._leaving:
                self.said[text] = (server, client)
            server.act("line", client, text.encode(), self.now)

    @precondition(lambda self: self.clients)
    @rule(at=st.integers(0, 2), data=st.data(), line=st.sampled_from(["/nick ann", "/nick bob", "/quit"]))
    def command(self, at: int, data: Any, line: str) -> None:
        server = self.servers[at]
        if server.hub._clients:
            client = data.draw(st.sampled_from(sorted(server.hub._clients)))
            self.wanted[server, client] = self.wanted.get((server, client), 0) + line.startswith("/nick")
            server.act("line", client, line.encode(), self.now)

    @rule(at=st.integers(0, 2))
    def send(self, at: int) -> None:
        self.servers[at].send()

    @rule(at=st.integers(0, 2))
    def execute(self, at: int) -> None:
        self.servers[at].execute()

    @rule(at=st.integers(0, 2))
    def arrive(self, at: int) -> None:
        self.servers[at].arrive()

    @rule(at=st.integers(0, 2), turns=st.integers(1, 6))
    def go_well(self, at: int, turns: int) -> None:
        self.turn(self.servers[at], turns)

    def turn(self, server: Server, turns: int) -> None:
        for _ in range(turns):
            server.send()
            server.execute()
            server.arrive()
            server.read()

    @rule(at=st.integers(0, 2))
    def cut(self, at: int) -> None:
        self.servers[at].cut()

    @precondition(lambda self: self.old)
    @rule(data=st.data())
    def repeat(self, data: Any) -> None:
        """What was sent on a connection that is given up arrives, maybe for the second time."""
        call = data.draw(st.sampled_from(self.old[-6:]))
        execute(self.log, *call)

    @rule(at=st.integers(0, 2), count=st.integers(1, 5))
    def read(self, at: int, count: int) -> None:
        self.servers[at].read(count)

    @rule(passed=st.sampled_from([1, 100, 600, 2 * PATIENCE // MS, LEASE + 1]))
    def wait(self, passed: int) -> None:
        self.now += passed * MS
        self.log.now += passed

    def teardown(self) -> None:
        for server in self.servers:
            server.cut()
        for _ in range(12):
            self.now += 600 * MS
            self.log.now += 600
            for server in self.servers:
                self.turn(server, 4)
        self.judge()

    def judge(self) -> None:
        lines = {
            (server, client): [line.partition("] ")[2] for line in heard if "] line " in line]
            for server in self.servers
            for client, heard in server.heard.items()
        }
        # Nobody sees a line twice, and no two see two lines in opposite orders.
        for one in lines.values():
            assert len(set(one)) == len(one)
            for other in lines.values():
                shared = set(one) & set(other)
                assert [text for text in one if text in shared] == [text for text in other if text in shared]
        # From a welcome or a warning on nobody misses anything.
        tails = []
        for server in self.servers:
            for client, heard in server.heard.items():
                if client not in server.closed:
                    since = max((at for at, line in enumerate(heard) if line == "* lines may be missing"), default=0)
                    tails.append([line for line in heard[since:] if "] line " in line])
        longest = max(tails, key=len, default=[])
        assert all(longest[len(longest) - len(tail) :] == tail for tail in tails)
        # Who was told nothing of it has seen all that anybody saw since.
        for server in self.servers:
            for client, heard in server.heard.items():
                if client in server.closed or "* lines may be missing" in heard:
                    continue
                his = set(lines[server, client])
                for other in lines.values():
                    common = next((at for at, text in enumerate(other) if text in his), len(other))
                    assert his.issuperset(other[common:])
        # Every line was shown to him who said it, or he was told that it was not, or he is gone.
        shown = {text for one in lines.values() for text in one}
        refusals: dict[tuple[Server, int], int] = {}
        for text, whose in self.said.items():
            if whose[1] in whose[0].closed:
                continue
            refusals.setdefault(whose, 0)
            if text not in lines.get(whose, []):
                assert text not in shown or self.lost, f"{text} was shown, but not to him who said it"
                refusals[whose] = refusals.get(whose, 0) + 1
        for (server, client), count in refusals.items():
            told = server.heard[client].count("! not delivered")
            wanted = self.wanted.get((server, client), 0)  # nicks that may have been refused as well
            missing = self.lost and "* lines may be missing" in server.heard[client]
            assert told <= count + wanted and (told >= count or missing)
        # All agree on who is there, and all who are there were welcomed.
        first, *others = (sorted(each[:1] + each[5:] for each in server.hub.residents()) for server in self.servers)
        assert all(other == first for other in others)
        assert {nick.lower() for nick, _ in first} == set(self.log.nicks)
        for server in self.servers:
            assert not server.hub._arriving and not server.hub._leaving
            mine = {server.hub._clients[client].nick for client in server.hub._clients}
            assert mine == {nick for nick, node in first if node == server.machine.node}


class LossyWorld(World):
    """The same, with a Redis that loses what it has acknowledged, and removes what was not read."""

    @rule()
    def lose_everything(self) -> None:
        self.lost = True
        self.log.lose()
        self.log.seen = self.log.now

    @precondition(lambda self: self.log.entries)
    @rule()
    def remember(self) -> None:
        """A replica is as far as this."""
        self.replica = copy.deepcopy(self.log)

    @rule(
        at=st.integers(0, 2), data=st.data(), rounds=st.integers(0, 3), others=st.integers(0, 1), behind=st.booleans()
    )
    def fail_over_just_after(self, at: int, data: Any, rounds: int, others: int, behind: bool) -> None:
        """What has just happened is lost, whoever knows of it."""
        self.all_well()
        self.remember()
        what = data.draw(st.sampled_from(["join", "say", "/nick ann", "/nick bob", "/quit"]))
        if what == "join":
            self.join(at)
        elif what == "say":
            self.say(at, data)
        else:
            self.command(at, data, what)
        self.turn(self.servers[at], rounds)
        if data.draw(st.booleans()):  # it is read, and the answer does not come
            self.send(at)
            self.execute(at)
            self.read(at, 5)
        self.turn(self.servers[(at + 1) % 3], others)
        self.fail_over(behind)

    @precondition(lambda self: hasattr(self, "replica"))
    @rule(behind=st.booleans())
    def fail_over(self, behind: bool) -> None:
        """The replica takes over; its clock may be behind, so that its ids are less than those that were lost."""
        now = self.log.now
        self.lost = True
        self.log = copy.deepcopy(self.replica)
        self.log.now = now
        self.log.clock = self.log.last[0] if behind else 0
        for server in self.servers:
            server.cut()
        self.old.clear()

    @precondition(lambda self: self.log.entries)
    @rule(kept=st.integers(0, 2))
    def trim(self, kept: int) -> None:
        self.lost = True
        del self.log.entries[: -kept or None]


def test_every_line_is_shown_once_or_refused() -> None:
    run_state_machine_as_test(World, settings=settings(stateful_step_count=60, deadline=None))


def test_what_redis_loses_is_told() -> None:
    run_state_machine_as_test(LossyWorld, settings=settings(stateful_step_count=60, deadline=None))


def test_what_was_read_before_its_answer_was_lost_is_not_refused() -> None:
    world = LossyWorld()
    world.join(0)
    world.all_well()
    world.remember()
    server = world.servers[0]
    server.act("line", 0, b"shown", world.now)
    for step in (server.send, server.execute, server.arrive, server.send, server.execute, server.read):
        step()
    assert server.heard[0][-1] == "[guest-1] shown"
    world.fail_over(behind=False)
    world.wait(600)
    world.all_well()
    assert server.heard[0][-2:] == ["[guest-1] shown", "* lines may be missing"]
    server.act("line", 0, b"after", world.now)
    world.all_well()
    assert server.heard[0][-1] == "[guest-1] after"
