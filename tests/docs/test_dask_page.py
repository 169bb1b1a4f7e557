"""What the page on executors shows of Dask, run on a cluster of this process where Dask is installed."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "beyond-one-machine.md"
AROUND = """
import oxisock
from dask.distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(1, processes=False, dashboard_address=None) as cluster, oxisock.EchoServer() as server:
%s
        print(report.counts["open"], len(report.sources))
        client.close()
"""


@pytest.mark.skipif(not importlib.util.find_spec("distributed"), reason="needs Dask (pip install distributed)")
@pytest.mark.timeout(120)
def test_what_the_page_shows_of_dask_runs() -> None:
    [block] = re.findall(r"^```text\n(from dask.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    for shown, here in (
        ('"tcp://scheduler:8786"', "cluster.scheduler_address"),
        ('"10.0.0.0/16"', '"127.0.0.1"'),
        ('"22,443"', "[1, server.address.port]"),
    ):
        assert shown in block
        block = block.replace(shown, here)
    code = AROUND % "".join(f"        {line}\n" for line in block.splitlines())
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stdout) == (0, "1 1\n"), done.stderr
