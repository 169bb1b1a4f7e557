"""Where a benchmark ran: the machine, what is installed, and how much of the machine others had meanwhile."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple, TypedDict

from ...scanning.plan import cores


class Environment(TypedDict):
    """What is known of the machine and of the run; null is what the system does not tell.

    ``load_average`` has how many processes wanted a processor, on average, in the minute before the start and the end.
    ``others`` is the part of all processor time between them that other programs had, ``steal`` the part that the
    hypervisor kept, both from 0 to 1.
    """

    oxisock: str
    python: str
    rustc: str | None
    system: str
    machine: str
    processor: str | None
    cores: int
    date: str
    uvloop: str | None
    nmap: str | None
    quick: bool
    interrupted: bool
    elapsed: float
    load_average: dict[str, float | None]
    others: float | None
    steal: float | None


class _Ticks(NamedTuple):
    """The processor time of the whole machine so far, in ticks: all of it, what was work, and what was stolen."""

    total: int
    work: int
    steal: int


class Watch:
    """Watches the machine from when it is made until ``environment`` is asked for."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._load = _load_average()
        self._ticks = _ticks()
        self._own = _own_seconds()

    def environment(self, *, quick: bool, interrupted: bool) -> Environment:
        """Say where a run that is over now ran."""
        from ... import __version__

        others, steal = self._shares()
        return {
            "oxisock": __version__,
            "python": f"{platform.python_implementation()} {platform.python_version()}",
            "rustc": _rustc(),
            "system": f"{platform.system()} {platform.release()}",
            "machine": platform.machine(),
            "processor": _processor(),
            "cores": cores(),
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "uvloop": _uvloop(),
            "nmap": _nmap(),
            "quick": quick,
            "interrupted": interrupted,
            "elapsed": round(time.perf_counter() - self._start, 1),
            "load_average": {"start": self._load, "end": _load_average()},
            "others": others,
            "steal": steal,
        }

    def _shares(self) -> tuple[float | None, float | None]:
        ticks = _ticks()
        if sys.platform == "win32" or ticks is None or self._ticks is None or ticks.total <= self._ticks.total:
            return None, None
        total, work, steal = (now - before for now, before in zip(ticks, self._ticks, strict=True))
        own = (_own_seconds() - self._own) * os.sysconf("SC_CLK_TCK")
        return round(max(0.0, work - own) / total, 3), round(steal / total, 3)


def noise(environment: Environment) -> str | None:
    """Say in a sentence how the machine was busy with other things, so that figures are not to be trusted; or None."""
    found = []
    if (others := environment["others"] or 0.0) > 0.05:
        found.append(f"other programs used {others:.0%} of its processors")
    if (steal := environment["steal"] or 0.0) > 0.02:
        found.append(f"its hypervisor kept {steal:.0%} of them")
    load = environment["load_average"]["start"] or 0.0
    if environment["others"] is None and load > 0.5 * environment["cores"]:
        found.append(f"the load average was {load:.1f} at the start")
    if not found:
        return None
    return f"The machine was busy with other work ({', '.join(found)}): measure again when it is quiet."


def _ticks() -> _Ticks | None:
    try:
        words = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
        user, nice, system, idle, iowait, irq, softirq, steal = map(int, words)
    except (OSError, ValueError):
        return None
    work = user + nice + system + irq + softirq
    return _Ticks(work + idle + iowait + steal, work, steal)


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _load_average() -> float | None:
    if sys.platform == "win32":
        return None
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None


def _processor() -> str | None:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or None


def _rustc() -> str | None:
    """Return the version of the compiler, which it writes into what it compiles."""
    from ... import _native

    try:
        found = re.search(rb"rustc version (\d[\w.-]*)", Path(str(_native.__file__)).read_bytes())
    except OSError:
        found = None
    return found[1].decode() if found else None


def _uvloop() -> str | None:
    from importlib import metadata

    try:
        return metadata.version("uvloop")
    except metadata.PackageNotFoundError:
        return None


def _nmap() -> str | None:
    if sys.platform == "win32" or not shutil.which("nmap"):
        return None
    try:
        said = subprocess.run(["nmap", "--version"], capture_output=True, text=True, timeout=10).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"version (\S+)", said)
    return found[1] if found else None
