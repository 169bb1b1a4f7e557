"""Times scans across a network of this machine's own, where ports are silent and packets are lost; needs root.

    python benches/network.py [--runs N] [--peers]

Each line is one way of scanning a far host (a network namespace), with the time of every run and whether each found
exactly the open ports. `--peers` adds nmap and 200 blocking threads, which take minutes.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from socket import socket

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from far_host import FarHost, why_not
from oxisock import native, pure

FEW = (22, 80, 443)
FIVE = (22, 80, 443, 8080, 50001)
SEVEN = (22, 80, 443, 6000, 8080, 31337, 50001)


def measure(name: str, runs: int, scan: Callable[[], Iterable[int]], wanted: tuple[int, ...]) -> None:
    """Run a scan some times and print its line."""
    times, right, missed = [], 0, set()
    for _ in range(runs):
        start = time.perf_counter()
        found = set(scan())
        times.append(time.perf_counter() - start)
        right += found == set(wanted)
        missed |= set(wanted) ^ found
    verdict = f"{right} of {runs} right" + (f", at fault: {sorted(missed)}" if missed else "")
    print(
        f"| {name} | {statistics.median(times):.2f} s | {min(times):.2f}-{max(times):.2f} s | {verdict} |", flush=True
    )


def tutorial(host: str, last: int) -> list[int]:
    """Scan with 200 threads and a blocking connect for each port."""

    def is_open(port: int) -> bool:
        with socket() as probe:
            probe.settimeout(1.0)
            return probe.connect_ex((host, port)) == 0

    with ThreadPoolExecutor(200) as pool:
        return [port for port, found in enumerate(pool.map(is_open, range(1, last + 1)), 1) if found]


def nmap(host: str, ports: str) -> list[int]:
    """Scan with nmap -sT -T4."""
    command = ["nmap", "-sT", "-T4", "-n", "-Pn", "-p", ports, "-oG", "-", host]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [int(port) for port in re.findall(r"\b(\d+)/open/tcp", output)]


def case(
    far: FarHost, title: str, ports: str, wanted: tuple[int, ...], runs: int, peers: bool, **options: object
) -> None:
    """Measure both engines, and the peers where that is wanted."""
    for face in native, pure:
        measure(
            f"{title}: {face.impl}",
            runs if face is native else max(1, runs // 4),
            lambda face=face: [result.port for result in face.scan(far.address, ports, **options).open],
            wanted,
        )
    if peers and not options:
        if shutil.which("nmap"):
            measure(f"{title}: nmap -sT -T4", 1, lambda: nmap(far.address, ports), wanted)
        measure(f"{title}: 200 threads", 1, lambda: tutorial(far.address, int(ports.split("-")[1])), wanted)


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--peers", action="store_true")
    args = parser.parse_args()
    if why := why_not():
        print(f"scans across a network are skipped: {why}")
        return
    with FarHost() as far:
        far.listen(*SEVEN)
        print("| scan | median | range | answers |\n|---|---|---|---|")
        case(far, "65,535 ports, 7 open, no loss", "1-65535", SEVEN, 4, False)
        far.rule("tcp dport { 22, 80, 443 } accept")
        far.rule("tcp dport 1-1024 drop")
        case(far, "1,024 ports, 3 open, the rest silent", "1-1024", FEW, 8, args.peers)
        case(far, "the same, adaptive=False, timeout=1.0, retries=1", "1-1024", FEW, 4, False, adaptive=False)
        far.flush()
        far.rule("tcp dport { 22, 80, 443, 8080, 50001 } accept")
        far.rule("tcp dport 1-65535 drop")
        case(far, "65,535 ports, 5 open, the rest silent", "1-65535", FIVE, 4, args.peers)
        for percent, runs in (5, args.runs), (20, args.runs // 2):
            far.flush()
            far.rule(f"numgen random mod 100 < {percent} drop")
            case(far, f"65,535 ports, 7 open, {percent} % loss", "1-65535", SEVEN, runs, args.peers)
        far.flush()
        far.rule("tcp flags & rst == rst limit rate over 200/second drop", "output")
        case(far, "1,000 ports, 3 open, refusals limited to 200 a second", "1-1000", FEW, 1, args.peers)


if __name__ == "__main__":
    main()
