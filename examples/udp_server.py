"""A UDP server: answers every datagram with "ACK: " and what came.

Run it, then send it a line from another terminal::

    python examples/udp_server.py 9999
    echo hello | nc -u -w1 127.0.0.1 9999
"""

from __future__ import annotations

import sys

import oxisock


def answer(datagram: oxisock.Datagram) -> bytes | None:
    """Give the reply to one datagram; None would be no reply."""
    print(f"{datagram.peer} sent {len(datagram.data)} bytes", flush=True)
    return b"ACK: " + datagram.data


def main() -> None:
    """Serve until Ctrl-C."""
    server = oxisock.UdpServer(answer, port=int(sys.argv[1]) if len(sys.argv) > 1 else 0).start()
    print(f"Listening on {server.address}", flush=True)
    server.serve_forever()
    stats = server.stats()
    print(f"{stats.messages} datagrams, {stats.bytes_in} bytes in, {stats.bytes_out} bytes out")


if __name__ == "__main__":
    main()
