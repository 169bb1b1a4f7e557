"""``oxisock chat``: talk in a chat room."""

from __future__ import annotations

import argparse
import io
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..text import clean
from . import EXIT_INTERRUPTED, EXIT_NO, EXIT_OK, UsageError, describe, failed_at, tls
from .arguments import add_impl, add_time, endpoint, examples, face
from .output import coloured, is_terminal, message

if TYPE_CHECKING:
    from ..chat.client import ChatClient

_NICK_COLOURS = (31, 32, 33, 34, 35, 36, 91, 92, 93, 94, 95, 96)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0  # seconds before the next try to connect


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "chat",
        help="talk to the others in a chat",
        description="Send every line that you type, and show every line that arrives. /help lists the commands; "
        "Ctrl-D, the end of the input, leaves. On a terminal with oxisock[cli], lines that arrive do not disturb what "
        "you type, and a lost connection is opened again.",
        **examples("oxisock chat 127.0.0.1:7000 --nick ann", "echo 'the backup is done' | oxisock chat 127.0.0.1:7000"),
    )
    parser.set_defaults(run=run)
    parser.add_argument("endpoint", type=endpoint, metavar="HOST:PORT", help="the server")
    parser.add_argument("--nick", metavar="NAME", help="your nick (default: guest-N)")
    add_time(parser, "--timeout", 5.0, "longest wait for the welcome")
    add_impl(parser)
    tls.add_client_options(parser)


def run(args: argparse.Namespace) -> int:
    """Connect, and talk."""
    from ..errors import ChatError

    secure = tls.of_client(args)

    def connect(nick: str | None) -> ChatClient:
        client: ChatClient = face(args.impl).ChatClient(*args.endpoint, nick=nick, timeout=args.timeout, **secure)
        return client

    try:
        client = connect(args.nick)
    except ChatError as error:
        raise UsageError(f"{args.endpoint}: {error}") from None
    except OSError as error:
        return failed_at(args.endpoint, error)
    if not (sys.stdin.isatty() and is_terminal(sys.stdout)):
        return _plain(client)
    print(f"-- welcome to the chat on {args.endpoint}: you are {client.nick}. /help lists the commands, Ctrl-D leaves.")
    client.send("/who")
    return Conversation(client, connect).run() if _have_prompt_toolkit() else _plain(client)


def _have_prompt_toolkit() -> bool:
    from importlib.util import find_spec

    return find_spec("prompt_toolkit") is not None


def _plain(client: ChatClient) -> int:
    """Send the lines of the standard input, and print the lines that arrive."""
    left = threading.Event()
    over = threading.Event()
    if isinstance(sys.stdin, io.TextIOWrapper):  # bytes that are no text would take the lines before them along
        sys.stdin.reconfigure(errors="replace")

    def say() -> None:
        try:
            for line in sys.stdin:
                client.send(line.rstrip("\r\n"))
            left.set()
            client.leave()
        except (OSError, ValueError) as error:
            if not over.is_set():
                message(f"what was typed did not get through: {error}")
                client.close()

    with client:
        # A daemon, because a thread that waits for a line of input cannot be stopped.
        threading.Thread(target=say, daemon=True).start()
        try:
            for line in client:
                print(painted(line), flush=True)
        except (OSError, ValueError) as error:
            why = describe(error) if isinstance(error, OSError) else str(error)
            message(f"the connection is lost: {why}")
            return EXIT_NO
        finally:
            over.set()
    if left.is_set():
        return EXIT_OK
    message("the server closed the connection")
    return EXIT_NO


class Conversation:
    """A chat on a terminal: a line for typing at the bottom, and the lines of the chat above it."""

    def __init__(self, client: ChatClient, connect: Callable[[str | None], ChatClient]) -> None:
        from prompt_toolkit import PromptSession

        self._client = client
        self._connect = connect
        self._wanted = client.nick
        self._connected = True
        self._over = threading.Event()
        self._code = EXIT_OK
        self._session: PromptSession[str] = PromptSession(erase_when_done=True)

    def run(self) -> int:
        """Talk until one side ends the chat."""
        from prompt_toolkit.patch_stdout import patch_stdout

        with patch_stdout(raw=True):
            listener = threading.Thread(target=self._listen, daemon=True)
            listener.start()
            try:
                while not self._over.is_set():
                    self._say(self._session.prompt(self._prompt))
            except EOFError:
                pass
            except KeyboardInterrupt:
                self._code = EXIT_INTERRUPTED
            self._over.set()
            self._client.close()
            listener.join(2)
        return self._code

    def _prompt(self) -> str:
        return f"{self._client.nick}> " if self._connected else f"({self._client.nick} is offline)> "

    def _say(self, line: str) -> None:
        if not line.strip():
            return
        if line.split()[0] == "/quit":
            self._over.set()
        try:
            self._client.send(line)
        except OSError:
            print("-- not sent: there is no connection")

    def _listen(self) -> None:
        """Show the lines that arrive. If the connection is lost, connect again."""
        while True:
            last = ""
            try:
                for line in self._client:
                    last = line
                    print(painted(line))
                why = "the server closed the connection"
            except (OSError, ValueError) as error:
                why = f"the connection is lost: {_words(error)}"
            if self._over.is_set():
                return
            self._connected = False
            # A client that the server has sent away does not connect again by itself.
            if last.startswith("! you ") or not self._come_back(why):
                self._code = EXIT_NO
                self._end()
                return
            self._connected = True

    def _come_back(self, why: str) -> bool:
        from ..errors import ChatError

        pause = _FIRST_PAUSE
        nick = self._client.nick
        self._client.close()
        print(f"-- {why}; trying again")
        while not self._over.wait(pause):
            try:
                client = self._connect(None)
            except (OSError, ChatError) as error:
                pause = min(2 * pause, _LONGEST_PAUSE)
                print(f"-- {_words(error)}; trying again in {pause:g} s")
                continue
            self._client = client
            if not nick.startswith("guest-"):
                # Another client may have this nick now. The server will say so.
                client.send(f"/nick {nick}")
            print(f"-- back again, as {client.nick}")
            return True
        return False

    def _end(self) -> None:
        """End the prompt."""
        self._over.set()
        app = self._session.app
        if app.is_running and app.loop is not None:
            app.loop.call_soon_threadsafe(lambda: app.exit(exception=EOFError()) if app.is_running else None)


def _words(error: Exception) -> str:
    return describe(error) if isinstance(error, OSError) else str(error)


def painted(line: str) -> str:
    """Return a line for the terminal. It contains no control characters, and each nick has its own colour."""
    line = clean(line)
    if not coloured(sys.stdout):
        return line
    if line.startswith("["):
        inside, bracket, text = line[1:].partition("] ")
        if bracket:
            nicks = " -> ".join(f"\x1b[{_colour(nick)}m{nick}\x1b[0m" for nick in inside.split(" -> "))
            return f"[{nicks}] {text}"
    colour = 31 if line.startswith("! ") else 2
    return f"\x1b[{colour}m{line}\x1b[0m"


def _colour(nick: str) -> int:
    # Not hash(), so that a nick has the same colour in every process.
    return _NICK_COLOURS[sum(nick.lower().encode()) % len(_NICK_COLOURS)]
