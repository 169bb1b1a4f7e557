"""Every server where system calls fail: it goes on, or fails clearly and leaves nothing."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from support import faults

KINDS = ["echo", "echo-3", "message", "message-3", "threaded", "chat", "udp", "udp-echo"]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return faults.library(tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_start_that_fails_leaves_nothing(impl: ModuleType, library: Path, kind: str) -> None:
    result = faults.run(library, impl.impl, kind, "start")
    assert (result.returncode, result.stdout) == (0, "done\n"), result.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_calls_that_fail_cost_those_they_were_for(impl: ModuleType, library: Path, kind: str) -> None:
    result = faults.run(library, impl.impl, kind, "serve")
    assert (result.returncode, result.stdout) == (0, "done\n"), result.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_a_loop_that_cannot_go_on_ends_its_server_and_its_owner_is_told(
    impl: ModuleType, library: Path, kind: str
) -> None:
    if impl.impl == "native" and kind.startswith("udp"):
        pytest.skip("this loop goes on whatever fails")
    result = faults.run(library, impl.impl, kind, "end")
    assert (result.returncode, result.stdout) == (0, "done\n"), result.stderr
