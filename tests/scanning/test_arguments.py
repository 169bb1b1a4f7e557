"""What scans and questions are asked with: bad values are told, bound functions pickled, and a plan is small."""

from __future__ import annotations

import pickle
from types import ModuleType

import pytest


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"timeout": 0}, ValueError, "timeout"),
        ({"timeout": "1"}, TypeError, "timeout"),
        ({"retries": -1}, ValueError, "retries"),
        ({"retries": 1.5}, TypeError, "retries"),
        ({"concurrency": 0}, ValueError, "concurrency"),
        ({"rate": 0}, ValueError, "rate"),
        ({"threads": 0}, ValueError, "threads"),
        ({"order": "up"}, ValueError, "'random' or 'sequential'"),
        ({"seed": -1}, ValueError, "seed"),
        ({"seed": 2**64}, ValueError, "seed"),
        ({"shard": "0/4"}, ValueError, "K from 1 to N"),
        ({"shard": "5/4"}, ValueError, "K from 1 to N"),
        ({"shard": "1-4"}, ValueError, "K/N"),
        ({"shard": "1/4"}, ValueError, "needs a seed"),
        ({"shard": "١/٤"}, ValueError, "K/N"),
        ({"family": 5}, ValueError, "family"),
        ({"keep": "opened"}, ValueError, "'opened'"),
        ({"exclude": "127.0.0.0/8"}, ValueError, "excluded"),
    ],
)
def test_bad_arguments_are_told(impl: ModuleType, arguments: dict[str, object], kind: type, words: str) -> None:
    with pytest.raises(kind, match=words):
        impl.scan("127.0.0.1", 80, **arguments)
    with pytest.raises(kind, match=words):
        impl.scan_iter("127.0.0.1", 80, **arguments)


@pytest.mark.parametrize("spec", ["1-2-3", "10-5", "65536", "8O", "80;81", "+80", "", "٨٠"])
def test_bad_ports_are_told(impl: ModuleType, spec: str) -> None:
    with pytest.raises(ValueError, match="ports"):
        impl.scan("127.0.0.1", spec)


@pytest.mark.parametrize("spec", ["1.2.3.4/33", "256.1.1.1", "", "1.2.3", "١.1.1.1"])
def test_bad_targets_are_told(impl: ModuleType, spec: str) -> None:
    with pytest.raises(ValueError, match="targets"):
        impl.scan(spec, 80)


def test_bound_functions_can_be_pickled(impl: ModuleType) -> None:
    for name in ("scan", "scan_iter", "scan_host", "scan_port", "check_host", "wait_for_port"):
        assert pickle.loads(pickle.dumps(getattr(impl, name))) == getattr(impl, name)


def test_a_plan_of_a_slash_8_is_small() -> None:
    import tracemalloc

    from oxisock.scanning.plan import ScanOptions, make_job

    make_job("10.0.0.1", "-", ScanOptions())
    tracemalloc.start()
    try:
        job = make_job("10.0.0.0/8", "-", ScanOptions())
        size = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert job.total == 2**24 * 65535
    assert size < 1_000_000


@pytest.mark.parametrize("host", ["127.0.0.010", "127.8", "0x7f000008", "127.0.0.8\0.example", "10.0.0.0/8"])
@pytest.mark.parametrize("question", ["check_host", "scan_port", "wait_for_port"])
def test_what_is_no_host_of_a_scan_is_no_host_of_a_question(impl: ModuleType, question: str, host: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        getattr(impl, question)(host, 80, timeout=1.0)
