"""Is a service up? ``python check_host.py HOST PORT`` says so, and its exit code does too."""

from __future__ import annotations

import sys

import oxisock


def main(host: str, port: str) -> int:
    """Check one port; give the exit code."""
    up = oxisock.check_host(host, int(port), timeout=2.0)
    print(f"{host}:{port} is {'up' if up else 'down'}")
    return 0 if up else 1


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: check_host.py HOST PORT")
    sys.exit(main(*sys.argv[1:]))
