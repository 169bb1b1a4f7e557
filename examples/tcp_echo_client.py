"""Send a text to an echo server and print what comes back: tcp_echo_client.py HOST PORT TEXT"""

import sys

import oxisock


def main(host: str, port: str, text: str) -> None:
    """Ask once; the answer is everything up to the end of the stream."""
    try:
        answer = oxisock.tcp_request(host, int(port), text.encode(), timeout=2.0)
    except TimeoutError:
        sys.exit("no answer within 2 seconds")
    except OSError as error:
        sys.exit(error.strerror or str(error))
    print(answer.decode(errors="replace"))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: tcp_echo_client.py HOST PORT TEXT")
    main(*sys.argv[1:])
