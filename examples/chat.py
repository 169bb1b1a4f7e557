"""A bot that does sums for everybody in a chat: chat.py HOST PORT

Try it::

    oxisock serve chat --port 7000
    python examples/chat.py 127.0.0.1 7000
    oxisock chat 127.0.0.1:7000          # and type: 2 + 3
"""

import re
import sys

import oxisock


def main(host: str, port: str) -> None:
    """Answer sums until the server closes."""
    with oxisock.ChatClient(host, int(port), nick="adder") as bot:
        bot.send("Hello, I add: try 2 + 3")
        for event in bot.events():
            if event.kind == "message" and (found := re.fullmatch(r"(\d{1,9}) *\+ *(\d{1,9})", event.text)):
                bot.send(f"{event.nick}: {int(found[1]) + int(found[2])}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: chat.py HOST PORT")
    main(*sys.argv[1:])
