"""Three clients that would hold a server without timeouts for ever, and what timeouts do to them: timeouts.py"""

import socket
import time

import oxisock


def main() -> None:
    """Meet a client that is silent, one that trickles, and one that does not read."""
    with oxisock.MessageServer(lambda message, peer: message * 1000, idle_timeout=0.5, write_timeout=0.5) as server:
        with socket.create_connection(server.address) as silent:
            began = time.monotonic()
            silent.recv(1)
            print(f"the silent one was closed after {time.monotonic() - began:.1f} s")

        with socket.create_connection(server.address) as trickling:
            began = time.monotonic()
            trickling.settimeout(0.1)
            while True:
                try:
                    trickling.sendall(b"x")  # never a whole line
                    if not trickling.recv(1):
                        break
                except TimeoutError:
                    continue
                except ConnectionError:
                    break
            print(f"the trickling one was closed after {time.monotonic() - began:.1f} s")

        with socket.create_connection(server.address) as deaf:
            try:
                while True:
                    deaf.sendall(b"a line whose answers are never read\n" * 100)
            except ConnectionError:
                print("the one that does not read was reset")
        print(f"{server.stats().timeouts} timeouts")


if __name__ == "__main__":
    main()
