"""Scans in the tasks of a real Dask cluster: workers with addresses of their own, that die, hang, and are used on."""

from __future__ import annotations

import importlib.util
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from types import ModuleType
from typing import Any, Self

import pytest

import oxisock.pure
from support.far_host import FarHost, why_not
from support.waiting import wait_until

_WHY = why_not() or ("" if importlib.util.find_spec("distributed") else "needs Dask (pip install distributed)")
pytestmark = [pytest.mark.namespace, pytest.mark.timeout(300), pytest.mark.skipif(bool(_WHY), reason=_WHY or "-")]

PRELUDE = """
import json, os, signal, sys, warnings
import oxisock
from distributed import Client
face = getattr(oxisock, sys.argv[1])
def facts(report):
    results = [(r.host, r.address, r.port, r.state, r.reason) for r in report.results]
    return [results, report.counts, report.partial, report.seed]
if __name__ == "__main__":
    with Client(sys.argv[2]) as client:
        executor = client.get_executor()
        target, ports, options = sys.argv[3], json.loads(sys.argv[4]), {"seed": 5, "keep": ["open", "closed", "error"]}
"""


class Target:
    """A host on this machine that both workers reach; it remembers who came."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.visitors: list[str] = []
        self.listeners: list[socket.socket] = []

    def __enter__(self) -> Self:
        for _ in range(5):
            listener = socket.create_server((self.address, 0), backlog=200)
            self.listeners.append(listener)
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        self.ports = sorted(listener.getsockname()[1] for listener in self.listeners)
        return self

    def __exit__(self, *_: object) -> None:
        for listener in self.listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, address = listener.accept()
            except OSError:
                return
            self.visitors.append(address[0])
            connection.close()


class Cluster:
    """A scheduler here, and workers in network namespaces of their own."""

    def __init__(self, stack: ExitStack, workers: int) -> None:
        self._stack = stack
        self.hosts = [stack.enter_context(FarHost()) for _ in range(workers)]
        self.target = stack.enter_context(Target(self.hosts[0].near_address))
        with socket.create_server((self.target.address, 0)) as free:
            port = free.getsockname()[1]
        self.scheduler = f"tcp://{self.target.address}:{port}"
        self._start("scheduler", [], "--host", self.target.address, "--port", str(port), "--no-dashboard")
        self.workers = []
        for host in self.hosts:
            host.inside("ip route add default via", host.near_address)
            inside = ["ip", "netns", "exec", host.name]
            options = ("--no-nanny", "--nthreads", "1", "--no-dashboard", "--host", host.address)
            self.workers.append(self._start("worker", inside, self.scheduler, *options))

    def _start(self, what: str, prefix: list[str], *arguments: str) -> subprocess.Popen[bytes]:
        command = [*prefix, sys.executable, "-m", f"distributed.cli.dask_{what}", *arguments]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def end() -> None:
            process.kill()
            process.wait()

        self._stack.callback(end)
        return process

    def program(self, impl: ModuleType, body: str, ports: list[int]) -> subprocess.Popen[str]:
        """Begin a program that has a client of the cluster, an executor and the target."""
        code = PRELUDE + "".join(f"        {line}\n" for line in body.strip().splitlines())
        command = [sys.executable, "-c", code, impl.__name__.rpartition(".")[2], self.scheduler, self.target.address]
        process = subprocess.Popen(
            [*command, json.dumps(ports)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._stack.callback(process.kill)
        return process

    def answer(self, process: subprocess.Popen[str]) -> list[Any]:
        """Give what a program printed, a line of JSON each; what it told on stderr is in ``told``."""
        out, self.told = process.communicate(timeout=250)
        assert process.returncode == 0, self.told
        return [json.loads(line) for line in out.splitlines()]


def ready(stack: ExitStack) -> Cluster:
    """Start three workers."""
    made = Cluster(stack, 3)
    waiting = made.program(oxisock.pure, "client.wait_for_workers(3, timeout=60)\nprint(1)", [])
    assert made.answer(waiting) == [1]
    return made


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three workers for all tests that leave them alive: they take seconds to start."""
    with ExitStack() as stack:
        yield ready(stack)


def test_the_report_is_that_of_one_process_and_both_of_two_scans_ask(impl: ModuleType, cluster: Cluster) -> None:
    ports = sorted({*cluster.target.ports, *range(1, 400)})
    cluster.target.visitors.clear()
    body = """
here = face.scan(target, ports, **options)
first = face.scan(target, ports, rate=2000, executor=executor, **options)
before = sum(r.probes for r in first.sources)
second = face.scan(target, ports, rate=2000, executor=executor, **options)
print(json.dumps(facts(here) == facts(first) == facts(second)))
print(json.dumps([len(here.open), first.sources, second.sources]))
"""
    same, (opened, first, second) = cluster.answer(cluster.program(impl, body, ports))
    assert same
    assert opened == 5
    for sources in (first, second):
        assert sum(probes for *_, probes in sources) >= len(ports)
    assert wait_until(lambda: len(cluster.target.visitors) >= 15, 30.0), "five ports, three scans"
    assert set(cluster.target.visitors) - {cluster.target.address} <= {host.address for host in cluster.hosts}
    assert {address for _, _, address, *_ in first} <= {host.address for host in cluster.hosts}


def test_a_target_sees_as_many_sources_as_there_are_workers(impl: ModuleType, cluster: Cluster) -> None:
    # Three tasks of a second each, on three workers.
    ports = sorted({*cluster.target.ports, *range(1, 4096 * 3)})
    body = """
report = face.scan(target, ports, rate=6000, executor=executor, **options)
print(json.dumps([len(report.results), [r.port for r in report.open], report.sources]))
"""
    [(decided, opened, sources)] = cluster.answer(cluster.program(impl, body, ports))
    assert decided == len(ports)
    assert set(opened) >= set(ports) & set(cluster.target.ports), "and whatever else listens here"
    assert {address for _, _, address, *_ in sources} == {host.address for host in cluster.hosts}


def test_workers_that_die_and_hang_cost_no_port(impl: ModuleType) -> None:
    with ExitStack() as stack:
        lose_two_of_three(impl, ready(stack))


def lose_two_of_three(impl: ModuleType, cluster: Cluster) -> None:
    ports = sorted({*cluster.target.ports, *range(1, 6000)})
    body = """
began = []
def told(result):
    if not began:
        began.append(1)
        print(json.dumps("going"), flush=True)
from oxisock.cli.executors import tell_of_lost_workers
client.subscribe_topic("all", tell_of_lost_workers)
report = face.scan(target, ports, rate=6000, executor=executor, tasks=6, on_result=told, **options)
print(json.dumps([len(report.results), [r.port for r in report.open], report.counts["error"], report.partial]))
again = face.scan(target, ports[:50], executor=executor, **options)
print(json.dumps(len(again.results)))
"""
    process = cluster.program(impl, body, ports)
    assert process.stdout is not None
    assert json.loads(process.stdout.readline()) == "going"
    cluster.workers[0].send_signal(signal.SIGKILL)
    cluster.workers[1].send_signal(signal.SIGSTOP)
    (decided, opened, errors, partial), again = cluster.answer(process)
    assert [decided, errors, partial] == [len(ports), 0, False]
    assert f"oxisock: the worker tcp://{cluster.hosts[0].address}:" in cluster.told
    assert set(opened) >= set(cluster.target.ports)
    assert again == 50


def test_ctrl_c_leaves_the_cluster_usable(impl: ModuleType, cluster: Cluster) -> None:
    body = """
def now(result):
    os.kill(os.getpid(), signal.SIGINT)
try:
    face.scan(target, [*ports, *range(1, 30000)], rate=12000, executor=executor, on_result=now, **options)
except oxisock.ScanInterrupted as error:
    print(json.dumps([error.report.partial, len(error.report.results) > 0, sum(error.report.counts.values())]))
report = face.scan(target, ports, executor=executor, **options)
print(json.dumps(len(report.open)))
"""
    (partial, some, decided), opened = cluster.answer(cluster.program(impl, body, cluster.target.ports))
    assert partial
    assert some
    assert decided < 29_000, "what was still to be scanned has been waited for"
    assert opened == 5
