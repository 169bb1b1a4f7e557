"""Times scans across a network of this machine's own, where ports are silent and packets are lost; needs root.

    python benches/network.py [--runs N] [--far-runs N] [--only PART ...] [--peers] [--markdown FILE]

Each line is one way of scanning a far host or network (network namespaces), with the time of every run and whether each
found exactly the open ports. `--only` takes some of: near, limited, wire, large, router, slow, dies, far. `--far-runs`
is for the part "far" alone. `--peers` adds nmap, which is ended after a minute, and 200 blocking threads. `--markdown`
writes the lines as a page of documentation.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from socket import socket
from types import ModuleType
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import page

from oxisock import native, pure
from oxisock.bench.report import environment
from support.far_host import DistantHost, FarHost, run, why_not
from support.networks import address, behind, forwarding, on_the_wire

FEW = (22, 80, 443)
FIVE = (22, 80, 443, 8080, 50001)
SEVEN = (22, 80, 443, 6000, 8080, 31337, 50001)
PATIENCE = 60  # seconds for nmap, which takes minutes where answers are late or limited
HEADING = ["| scan | median | range | answers |", "|---|--:|--:|---|"]

PAGE = """\
# Scans across a network

<!-- Written by `benches/network.py --markdown`: do not change it by hand. -->

The far host is a network namespace on the same machine. Its packets are dropped, lost or limited on purpose, and
delayed if the line says so. A scan is "right" if it found exactly the open ports. The scans are `oxisock.scan` with
its defaults, except as the line says. `--peers` adds nmap (`-sT -T4`, ended after a minute) and 200 blocking threads
with a timeout of one second.

{where}
{lines}

**Where the time goes, the /24 behind a router.** The scan sends 524,000 probes: 252 addresses are silent, and each of
their ports is asked twice. If a probe costs 1 µs, the scan takes 6.5 s (simulated): a tenth of a second for the first
ports of each host, then 4,096 probes in flight for 50 ms each. For native, a probe costs 10 µs of processor time.
`perf` shows 86 % of it in the kernel (54 % connect, 24 % giving the connect up), so native mostly waits. For pure, a
probe costs 15 to 17 µs; this machine's speed varies by that much from hour to hour. Its two system calls take half of
that, connect twice as much as giving the connect up; all other calls are one in ten. The decisions take 4 to 5 µs,
carrying them out takes 2 µs, and garbage collection a microsecond. So the one thread of CPython sets the time: 8.3 s at
15 µs, 9.0 s at 17 µs, 10.1 s at 19 µs (simulated). Twelve runs of pure took 8.1 to 9.2 s.

**The link.** It is a process that carries packets between two TUN devices. While some are on the way, it looks for
others every 0.1 ms. If it wakes for each packet, the sender pays for that, which no wire costs: 2 µs of each connect.
So pure took 9.0 to 9.7 s instead of 8.1 to 8.6 s for the /24 behind a router, one run after the other. Native, which
waits most of the time, took as long as before.

**Misses, the /24 behind a router.** The queue of the link's device holds 500 packets. When the first 4,000 probes left
at once, it sometimes dropped both probes to a port: with `skip_silent=True`, native missed ports in 1 of 150 runs. Now
they leave at 40,000 a second, and a port was missed in none of 200 runs.

**The host 50-60 ms away, at 1 % loss.** The scan sends 197,000 probes, three to each port, or 262,000, four to each, if
it takes the loss for more than 2.15 %. The probes cost pure 4 to 5 s of processor time. So pure takes longer if the
link's own process, or others, need that processor.

Run it as root, with iproute2 and nftables: `{command}`. Other figures: [benchmarks](benchmarks.md).
"""


Found = set[tuple[str, int]]  # addresses and ports


class Work(NamedTuple):
    """What is to be scanned, and the truth about it."""

    title: str
    targets: str
    ports: str
    wanted: Found
    exclude: str = ""
    prepare: Callable[[], object] = int  # called before each scan


def measure(name: str, runs: int, work: Work, scan: Callable[[], Iterable[tuple[str, int]]]) -> str:
    """Run a scan some times and give its line."""
    times, right, missed = [], 0, Found()
    for _ in range(runs):
        work.prepare()
        start = time.perf_counter()
        try:
            found = set(scan())
        except subprocess.TimeoutExpired:
            return f"| {work.title}: {name} | > {PATIENCE} s | | |"
        times.append(time.perf_counter() - start)
        right += found == work.wanted
        missed |= work.wanted ^ found
    verdict = f"{right} of {runs} right"
    if missed:
        first = ", ".join(f"{host}:{port}" for host, port in sorted(missed)[:3])
        verdict += f", at fault: {first}" + f" and {len(missed) - 3} more" * (len(missed) > 3)
    middle, least, most = statistics.median(times), min(times), max(times)
    return f"| {work.title}: {name} | {middle:.2f} s | {least:.2f}-{most:.2f} s | {verdict} |"


def tutorial(host: str, last: int) -> Found:
    """Scan with 200 threads and a blocking connect for each port."""

    def is_open(port: int) -> bool:
        with socket() as probe:
            probe.settimeout(1.0)
            return probe.connect_ex((host, port)) == 0

    with ThreadPoolExecutor(200) as pool:
        return {(host, port) for port, found in enumerate(pool.map(is_open, range(1, last + 1)), 1) if found}


def nmap(work: Work) -> Found:
    """Scan with nmap -sT -T4; of a single host it is to believe that it is up, as others do."""
    known = [] if "/" in work.targets else ["-Pn"]
    without = ["--exclude", work.exclude] if work.exclude else []
    command = ["nmap", "-sT", "-T4", "-n", *known, "-p", work.ports, *without, "-oG", "-", work.targets]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout
    hosts = re.findall(r"^Host: (\S+) .*Ports: (.*)$", output, re.MULTILINE)
    return {(host, int(port)) for host, ports in hosts for port in re.findall(r"\b(\d+)/open/tcp", ports)}


def case(
    work: Work, runs: int, peers: tuple[str, ...], pure_runs: int | None = None, **options: object
) -> Iterator[str]:
    """Measure the peers that are wanted and both engines; pure ``pure_runs`` times, or a quarter as often as native."""
    times = {native: runs, pure: max(1, runs // 4 if pure_runs is None else pure_runs)}
    for face in native, pure:

        def scan(face: ModuleType = face) -> Found:
            report = face.scan(work.targets, work.ports, exclude=work.exclude or (), **options)
            return {(result.address, result.port) for result in report.open}

        yield measure(face.impl, times[face], work, scan)
    if "nmap" in peers and shutil.which("nmap"):
        yield measure("nmap -sT -T4", 1, work, lambda: nmap(work))
    if "threads" in peers:
        yield measure("200 threads", 1, work, lambda: tutorial(work.targets, int(work.ports.split("-")[1])))


def of(host: str, ports: Iterable[int]) -> Found:
    """Give ports of one host."""
    return {(host, port) for port in ports}


def near(runs: int, peers: tuple[str, ...]) -> Iterator[str]:
    """Measure a host on the wire: closed ports, silent ones, loss."""
    few = min(4, runs)
    with FarHost() as far:
        far.listen(*SEVEN)
        seven = Work("65,535 ports, 7 open, no loss", far.address, "1-65535", of(far.address, SEVEN))
        yield from case(seven, few, peers)
        far.rule("tcp dport { 22, 80, 443 } accept")
        far.rule("tcp dport 1-1024 drop")
        work = Work("1,024 ports, 3 open, the rest silent", far.address, "1-1024", of(far.address, FEW))
        yield from case(work, min(8, runs), peers)
        work = work._replace(title="the same, adaptive=False, timeout=1.0, retries=1")
        yield from case(work, few, (), adaptive=False, timeout=1.0, retries=1)
        far.flush()
        far.rule("tcp dport { 22, 80, 443, 8080, 50001 } accept")
        far.rule("tcp dport 1-65535 drop")
        # 200 threads would wait for a second 328 times.
        patient = tuple(peer for peer in peers if peer != "threads")
        work = Work("65,535 ports, 5 open, the rest silent", far.address, "1-65535", of(far.address, FIVE))
        yield from case(work, few, patient)
        for percent, times in (5, runs), (20, (runs + 1) // 2):
            far.flush()
            far.rule(f"numgen random mod 100 < {percent} drop")
            loss = peers if percent == 5 else ()
            yield from case(seven._replace(title=f"65,535 ports, 7 open, {percent} % loss"), times, loss)


def limited(runs: int, peers: tuple[str, ...]) -> Iterator[str]:
    """Measure a host that refuses only so often."""
    with FarHost() as far:
        far.listen(*FEW)
        far.rule("tcp flags & rst == rst limit rate over 200/second drop", "output")
        title = "1,000 ports, 3 open, refusals limited to 200 a second"
        yield from case(Work(title, far.address, "1-1000", of(far.address, FEW)), 1, peers)


def wire(runs: int, peers: tuple[str, ...]) -> Iterator[str]:
    """Measure a /24 on the wire: four hosts, of which one drops everything but an odd port."""
    with FarHost() as far:
        far.listen(22, 80, 443, 31337)
        prefix = far.address.rpartition(".")[0]
        for number in 40, 60, 80:
            far.inside(f"ip addr add {prefix}.{number}/24 dev {far.far_device}")
        far.rule(f"ip daddr {prefix}.80 tcp dport != 31337 drop")
        wanted = Found().union(*(of(f"{prefix}.{n}", (22, 80, 443, 31337)) for n in (2, 40, 60)))
        wanted.add((f"{prefix}.80", 31337))
        title = "a /24 on the wire, 1,025 ports, 4 hosts up"
        work = Work(title, f"{prefix}.0/24", "1-1024,31337", wanted, exclude=far.near_address)
        yield from case(work, min(2, runs), only_nmap(peers))


def large(runs: int, peers: tuple[str, ...]) -> Iterator[str]:
    """Measure a network larger than the kernel's table of neighbours."""
    with FarHost() as far:
        far.listen(80)
        up = range(5, 4025, 20)
        prefix = on_the_wire(far, up)
        wanted = {(address(prefix, number), 80) for number in up}
        title = f"a /20 on the wire, port 80, {len(up)} hosts up"

        def forget() -> None:
            run(f"ip neigh flush dev {far.near_device}")

        work = Work(title, f"{prefix}.0/20", "80", wanted, exclude=f"{prefix}.1", prepare=forget)
        yield from case(work, 1, only_nmap(peers))


def router(runs: int, peers: tuple[str, ...]) -> Iterator[str]:
    """Measure a /24 behind a router: four hosts, one of which drops all but an odd port, and no word of others."""
    with DistantHost("-d 5") as far:
        far.listen(22, 80, 443, 31337)
        prefix = behind(far, (10, 40, 60, 80))
        far.rule(f"ip daddr {prefix}.80 tcp dport != 31337 drop")
        wanted = Found().union(*(of(f"{prefix}.{n}", (22, 80, 443, 31337)) for n in (10, 40, 60)))
        title = "a /24 behind a router 10 ms away, 1,028 ports, 4 hosts up, no word of others"
        work = Work(title, f"{prefix}.0/24", "1-1024,6379,27017,31337,50000", wanted | {(f"{prefix}.80", 31337)})
        yield from case(work, min(2, runs), only_nmap(peers))
        # Whoever drops all but an odd port is silent, too.
        quick = work._replace(title="the same, skip_silent=True", wanted=wanted)
        yield from case(quick, min(2, runs), (), skip_silent=True)


def slow(runs: int, peers: tuple[str, ...]) -> Iterator[str]:
    """Measure a host that refuses at once and forwards 50 ports to another one that is far away."""
    ports = range(100, 5001, 100)
    with forwarding(ports, "-d 30 -j 220") as far:
        title = "5,000 ports, 50 open that answer after 60 to 500 ms, the rest refused at once"
        work = Work(title, far.address, "1-5000", of(far.address, ports))
        yield from case(work, min(4, runs), only_nmap(peers))


def dies(runs: int, peers: tuple[str, ...]) -> Iterator[str]:
    """Measure a host, mostly silent, from which nothing comes any more after a second of its scan."""
    with DistantHost("-d 5") as far:
        far.listen(*FEW)

        def revive() -> None:
            far.flush()
            far.rule(f"tcp dport {{ {', '.join(map(str, FEW))} }} accept")
            far.rule("tcp dport & 63 != 0 drop")
            threading.Timer(1.0, far.inside, ("nft insert rule ip f input tcp dport 1-65535 drop",)).start()

        title = "65,535 ports 10 ms away, 3 open, every 64th refused, the rest silent, and all of them after a second"
        work = Work(title, far.address, "1-65535", of(far.address, FEW), prepare=revive)
        yield from case(work, min(4, runs), only_nmap(peers))


def distant(runs: int, peers: tuple[str, ...]) -> Iterator[str]:
    """Measure a host 50 to 60 ms away that drops everything but seven ports, where packets are lost."""
    for percent in 1, 5:
        with DistantHost(f"-d 25 -j 5 -l {percent}") as far:
            far.listen(*SEVEN)
            far.rule(f"tcp dport {{ {', '.join(map(str, SEVEN))} }} accept")
            far.rule("tcp dport 1-65535 drop")
            title = f"65,535 ports 50-60 ms away, 7 open, the rest silent, {percent} % loss each way"
            work = Work(title, far.address, "1-65535", of(far.address, SEVEN))
            yield from case(work, runs, only_nmap(peers) if percent == 1 else (), pure_runs=runs)


def only_nmap(peers: tuple[str, ...]) -> tuple[str, ...]:
    """Give the peers without the threads, which would take too long, or know no networks."""
    return tuple(peer for peer in peers if peer == "nmap")


PARTS: dict[str, Callable[[int, tuple[str, ...]], Iterator[str]]] = {
    "near": near,
    "limited": limited,
    "wire": wire,
    "large": large,
    "router": router,
    "slow": slow,
    "dies": dies,
    "far": distant,
}
LINKED = {"router", "slow", "dies", "far"}
"""Those that need a link with delay."""


def main() -> None:
    """Measure everything, print it, and write the page that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=4, help="scans of native where packets are lost (default: 4)")
    parser.add_argument("--far-runs", type=int, help="scans of a host 50-60 ms away (default: as --runs)")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help="these parts alone")
    parser.add_argument("--peers", action="store_true", help="nmap and 200 threads, too")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write a page")
    args = parser.parse_args()
    if why := why_not():
        print(f"scans across a network are skipped: {why}")
        return
    parts = {name: part for name, part in PARTS.items() if name in (args.only or PARTS)}
    if why := DistantHost.why_not():
        print(f"what is far away is skipped: {why}")
        parts = {name: part for name, part in parts.items() if name not in LINKED}
    peers = ("nmap", "threads") if args.peers else ()
    watch, lines = environment.Watch(), list(HEADING)
    print(*lines, sep="\n")
    far_runs = args.far_runs or args.runs
    for line in chain.from_iterable(
        part(far_runs if name == "far" else args.runs, peers) for name, part in parts.items()
    ):
        lines.append(line)
        print(line, flush=True)
    if args.markdown:
        command = f"python benches/network.py --runs {args.runs}" + f" --far-runs {args.far_runs}" * bool(args.far_runs)
        command += f" --only {' '.join(args.only)}" if args.only else ""
        command += " --peers" * args.peers
        page.write(args.markdown, PAGE, watch, lines="\n".join(lines), command=command)


if __name__ == "__main__":
    main()
