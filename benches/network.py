"""Times scans across a network of this machine's own, where ports are silent and packets are lost; needs root.

    python benches/network.py [--runs N] [--peers] [--markdown FILE]

Each line is one way of scanning a far host (a network namespace), with the time of every run and whether each found
exactly the open ports. `--peers` adds nmap and 200 blocking threads, which take minutes. `--markdown` writes the lines
as a page of documentation.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from socket import socket

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import page

from oxisock import native, pure
from oxisock.bench.report import environment
from support.far_host import DistantHost, FarHost, why_not

FEW = (22, 80, 443)
FIVE = (22, 80, 443, 8080, 50001)
SEVEN = (22, 80, 443, 6000, 8080, 31337, 50001)
HEADING = ["| scan | median | range | answers |", "|---|--:|--:|---|"]

PAGE = """\
# Scans across a network

<!-- Written by `benches/network.py --markdown`: do not change it by hand. -->

The far host is a network namespace of the same machine, whose packets are dropped, lost or limited on purpose, and
where the line says so late; else there is no delay but that of the machine. "Right" is exactly the open ports.
`--peers` adds nmap (`-sT -T4`) and 200 blocking threads with a timeout of a second; all else is `oxisock.scan` with its
defaults, but for what the line says.

{where}
{lines}

As root, with iproute2 and nftables: `{command}`. What else is measured: [benchmarks](benchmarks.md).
"""


def measure(name: str, runs: int, scan: Callable[[], Iterable[object]], wanted: Iterable[object]) -> str:
    """Run a scan some times and give its line."""
    times, right, missed = [], 0, set[object]()
    for _ in range(runs):
        start = time.perf_counter()
        found = set(scan())
        times.append(time.perf_counter() - start)
        right += found == set(wanted)
        missed |= set(wanted) ^ found
    verdict = f"{right} of {runs} right" + (f", at fault: {sorted(missed, key=str)}" if missed else "")
    return f"| {name} | {statistics.median(times):.2f} s | {min(times):.2f}-{max(times):.2f} s | {verdict} |"


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
    far: FarHost, title: str, ports: str, wanted: tuple[int, ...], runs: int, peers: tuple[str, ...], **options: object
) -> Iterator[str]:
    """Measure both engines, and the peers that are wanted."""
    for face in native, pure:
        yield measure(
            f"{title}: {face.impl}",
            max(1, runs if face is native else runs // 4),
            lambda face=face: [result.port for result in face.scan(far.address, ports, **options).open],
            wanted,
        )
    if "nmap" in peers and shutil.which("nmap"):
        yield measure(f"{title}: nmap -sT -T4", 1, lambda: nmap(far.address, ports), wanted)
    if "threads" in peers:
        yield measure(f"{title}: 200 threads", 1, lambda: tutorial(far.address, int(ports.split("-")[1])), wanted)


def cases(far: FarHost, runs: int, peers: tuple[str, ...]) -> Iterator[str]:
    """Measure everything, line by line."""
    few = min(4, runs)
    yield from case(far, "65,535 ports, 7 open, no loss", "1-65535", SEVEN, few, peers)
    far.rule("tcp dport { 22, 80, 443 } accept")
    far.rule("tcp dport 1-1024 drop")
    yield from case(far, "1,024 ports, 3 open, the rest silent", "1-1024", FEW, min(8, runs), peers)
    title = "the same, adaptive=False, timeout=1.0, retries=1"
    yield from case(far, title, "1-1024", FEW, few, (), adaptive=False, timeout=1.0, retries=1)
    far.flush()
    far.rule("tcp dport { 22, 80, 443, 8080, 50001 } accept")
    far.rule("tcp dport 1-65535 drop")
    # 200 threads would wait for a second 328 times.
    patient = tuple(peer for peer in peers if peer != "threads")
    yield from case(far, "65,535 ports, 5 open, the rest silent", "1-65535", FIVE, few, patient)
    for percent, times in (5, runs), (20, (runs + 1) // 2):
        far.flush()
        far.rule(f"numgen random mod 100 < {percent} drop")
        loss = peers if percent == 5 else ()
        yield from case(far, f"65,535 ports, 7 open, {percent} % loss", "1-65535", SEVEN, times, loss)
    far.flush()
    yield from network(far, runs)
    far.flush()
    far.rule("tcp flags & rst == rst limit rate over 200/second drop", "output")
    yield from case(far, "1,000 ports, 3 open, refusals limited to 200 a second", "1-1000", FEW, 1, peers)


def network(far: FarHost, runs: int) -> Iterator[str]:
    """Measure a /24 on the wire: four hosts, of which one drops everything but an odd port."""
    prefix = far.address.rpartition(".")[0]
    for number in 40, 60, 80:
        far.inside(f"ip addr add {prefix}.{number}/24 dev {far.far_device}")
    far.rule(f"ip daddr {prefix}.80 tcp dport != 31337 drop")
    wanted = {(f"{prefix}.{number}", port) for number in (2, 40, 60) for port in (22, 80, 443, 31337)}
    wanted.add((f"{prefix}.80", 31337))
    for face in native, pure:
        yield measure(
            f"a /24 on the wire, 1,025 ports, 4 hosts up: {face.impl}",
            min(2, runs),
            lambda face=face: [
                (r.address, r.port) for r in face.scan(f"{prefix}.0/24", "1-1024,31337", exclude=far.near_address).open
            ],
            wanted,
        )


def distant(runs: int) -> Iterator[str]:
    """Measure a host 50 to 60 ms away that drops everything but seven ports, where packets are lost."""
    if why := DistantHost.why_not():
        print(f"distant hosts are skipped: {why}")
        return
    for percent in 1, 5:
        with DistantHost(f"-d 25 -j 5 -l {percent}") as far:
            far.listen(*SEVEN)
            far.rule(f"tcp dport {{ {', '.join(map(str, SEVEN))} }} accept")
            far.rule("tcp dport 1-65535 drop")
            title = f"65,535 ports 50-60 ms away, 7 open, the rest silent, {percent} % loss each way"
            yield from case(far, title, "1-65535", SEVEN, runs, ())


def main() -> None:
    """Measure everything, print it, and write the page that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=4, help="scans of native where packets are lost (default: 4)")
    parser.add_argument("--peers", action="store_true", help="nmap and 200 threads, too")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write a page")
    args = parser.parse_args()
    if why := why_not():
        print(f"scans across a network are skipped: {why}")
        return
    watch, lines = environment.Watch(), list(HEADING)
    print(*lines, sep="\n")
    with FarHost() as far:
        far.listen(*SEVEN)
        for line in chain(cases(far, args.runs, ("nmap", "threads") if args.peers else ()), distant(args.runs)):
            lines.append(line)
            print(line, flush=True)
    if args.markdown:
        command = f"python benches/network.py --runs {args.runs}" + " --peers" * args.peers
        page.write(args.markdown, PAGE, watch, lines="\n".join(lines), command=command)


if __name__ == "__main__":
    main()
