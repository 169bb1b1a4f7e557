"""A first TCP server: a thread for each connection that sends back what it reads: tcp_threaded_server.py [PORT]

Run it, then talk to it from another terminal::

    python examples/tcp_threaded_server.py 9000
    nc 127.0.0.1 9000
"""

import sys

import oxisock


def handle(conn: oxisock.ThreadConnection, peer: oxisock.Peer) -> None:
    """Serve one client; another one has a thread of its own."""
    while data := conn.recv(4096):  # whatever has come, at most 4096 bytes; b"" is the end
        print(f"{peer} sent {len(data)} bytes", flush=True)
        conn.sendall(data)


def main(port: str = "0") -> None:
    """Serve until Ctrl-C."""
    server = oxisock.ThreadedServer(handle, port=int(port))
    server.serve_forever(on_start=lambda: print("Listening on {}:{}".format(*server.address), flush=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
