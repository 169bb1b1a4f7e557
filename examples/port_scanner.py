"""A port scanner in a few lines: ``python port_scanner.py TARGET [PORTS]`` names open ports as they are found."""

from __future__ import annotations

import sys

import oxisock


def main(target: str, ports: str = "1-1024") -> None:
    """Scan a name, an address or a network; Ctrl-C ends the scan and keeps what was found."""
    with oxisock.scan_iter(target, ports, timeout=1.0) as scan:
        try:
            for result in scan:
                print(f"{result.address}:{result.port} {result.service or 'unknown'} ({result.rtt * 1000:.2f} ms)")
        except KeyboardInterrupt:
            print("interrupted")
    report = scan.report()
    counts = ", ".join(f"{count} {state}" for state, count in report.counts.items() if count)
    print(f"{counts} in {report.elapsed:.2f} s")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: port_scanner.py TARGET [PORTS]")
    main(*sys.argv[1:])
