"""Scans in the tasks of an MPI job, where mpiexec and mpi4py are installed."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

_MISSING = [
    what
    for what, found in (("mpiexec", shutil.which("mpiexec")), ("mpi4py", importlib.util.find_spec("mpi4py")))
    if not found
]
pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(bool(_MISSING), reason=f"needs {' and '.join(_MISSING)}"),
]

PROGRAM = """
import json, sys
import oxisock
from mpi4py.futures import MPIPoolExecutor

if __name__ == "__main__":
    face, ports = getattr(oxisock, sys.argv[1]), json.loads(sys.argv[2])
    with MPIPoolExecutor() as pool:
        report = face.scan("127.0.0.7-10", ports, keep="open,closed", seed=3, executor=pool, rate=5000)
    sources = [[source.host, source.probes] for source in report.sources]
    print(json.dumps([[[r.address, r.port, r.state] for r in report.results], report.partial, sources]))
"""


def test_the_report_is_that_of_one_process(impl: ModuleType, listeners: list[int], tmp_path: Path) -> None:
    ports = sorted({*listeners, *range(1, 100)})
    (tmp_path / "program.py").write_text(PROGRAM)
    # Open MPI wants to be told that it may run as root, and with more processes than there are cores.
    told = {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_rmaps_base_oversubscribe": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    }
    name = impl.__name__.rpartition(".")[2]
    command = ["mpiexec", "-n", "3", sys.executable, "-m", "mpi4py.futures", "program.py", name, json.dumps(ports)]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, **told}, capture_output=True, text=True, timeout=150, check=False
    )
    assert done.returncode == 0, done.stderr
    results, partial, sources = json.loads(done.stdout)
    expected = impl.scan("127.0.0.7-10", ports, keep="open,closed", seed=3)
    assert results == [[r.address, r.port, r.state] for r in expected.results]
    assert not partial
    assert sum(probes for _, probes in sources) >= 4 * len(ports)
