"""Send messages to a server that speaks in lines, and print its answers: framed_client.py HOST PORT MESSAGE..."""

import sys

from oxisock import Lines, connect


def main(host: str, port: str, *messages: str) -> None:
    """Send each message and wait for one answer to it, at most five seconds."""
    with connect(host, int(port), Lines(), timeout=5.0) as framed:
        for message in messages:
            framed.send(message.encode())
            answer = framed.recv()
            if answer is None:
                sys.exit("the server closed the connection")
            print(answer.decode(errors="replace"))


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit("usage: framed_client.py HOST PORT MESSAGE...")
    main(*sys.argv[1:])
