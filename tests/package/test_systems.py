"""What the package asks of Python where another system's has less, found on this one (tests/support/elsewhere.py)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from support import elsewhere
from support.commands import environment


@pytest.mark.skipif(sys.platform != "linux", reason="what those systems lack is taken from what Linux has")
@pytest.mark.parametrize("system", sorted(elsewhere.LACKS))
def test_nothing_is_asked_of_a_system_that_it_lacks(impl: ModuleType, system: str) -> None:
    program = Path(elsewhere.__file__)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program), system, impl.impl],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
