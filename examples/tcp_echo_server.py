"""An echo server for thousands of connections: tcp_echo_server.py [PORT]

Run it, then talk to it from another terminal::

    python examples/tcp_echo_server.py 9000
    python examples/tcp_echo_client.py 127.0.0.1 9000 hello
"""

import sys

import oxisock


def main(port: str = "0") -> None:
    """Serve until Ctrl-C, then say what happened."""
    server = oxisock.EchoServer(port=int(port), idle_timeout=60.0)
    report = server.serve_forever(on_start=lambda: print("Listening on {}:{}".format(*server.address), flush=True))
    stats = server.stats()
    print(f"{stats.accepted} connections, {stats.bytes_out} bytes; {report.drained} drained, {report.aborted} cut")


if __name__ == "__main__":
    main(*sys.argv[1:])
