"""A UDP client: sends one datagram and prints the answer, asking again when none comes.

Run it against examples/udp_server.py::

    python examples/udp_client.py 127.0.0.1 9999 hello
"""

from __future__ import annotations

import sys

import oxisock


def main() -> int:
    """Ask up to three times, half a second each."""
    host, port, text = sys.argv[1], int(sys.argv[2]), " ".join(sys.argv[3:])
    try:
        reply = oxisock.udp_request(host, port, text.encode(), timeout=0.5, retries=2)
    except ConnectionRefusedError:
        print(f"nobody listens on {host}:{port}", file=sys.stderr)  # an ICMP message said so
    except TimeoutError as error:
        print(error, file=sys.stderr)  # lost on the way, or nobody there: UDP cannot tell
    else:
        print(reply.decode(errors="replace"))
        return 0
    return 1


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit("usage: udp_client.py HOST PORT TEXT...")
    sys.exit(main())
