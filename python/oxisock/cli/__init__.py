"""The command ``oxisock``: one module for each command, and what all commands share.

A command is a module of this package with ``add_parser(subparsers)``, which sets ``run`` as the parser's default, and
``run(args) -> int``, which returns the exit code. ``COMMANDS`` lists all commands. All are imported to build the
parser, so a command imports what it needs for its work in ``run``.

Several commands share ``parsing`` and ``arguments`` (they read and check), ``streams``, ``output``, ``tables`` and
``progress`` (they show), and ``tls``. Parts of one command: ``executors`` of scan, ``serve_chat`` and
``serve_events`` of serve, ``load_view`` of load, ``demo_chat`` of demo.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module

from . import streams
from .parsing import Parser

COMMANDS = (
    "scan",
    "check",
    "wait",
    "diff",
    "serve",
    "send",
    "chat",
    "explain",
    "source",
    "load",
    "demo",
    "bench",
    "completion",
)
"""The modules with commands, in the order of the help."""

_LONGEST_MESSAGE = 2000  # characters
EXIT_OK, EXIT_NO, EXIT_USAGE, EXIT_INTERRUPTED, EXIT_PIPE = 0, 1, 2, 130, 141


class UsageError(Exception):
    """Wrong usage, or an input that cannot be used. The text of the exception is the message."""


class Ended(KeyboardInterrupt):
    """A signal other than Ctrl-C ends the command. ``code`` is the exit code for that signal."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by signal {number}")
        self.code = 128 + number


@contextmanager
def ended_by_signals() -> Iterator[Callable[[], int]]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does. Yields a function that returns the exit code."""
    import signal

    code = EXIT_INTERRUPTED

    def end(number: int, _: object) -> None:
        nonlocal code
        code = 128 + number
        raise Ended(number)

    before = {}
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # A signal that is ignored, as under nohup, stays ignored.
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            before[number] = signal.signal(number, end)
    try:
        yield lambda: code
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def build_parser() -> Parser:
    """Build the parser of all commands."""
    from .. import __version__
    from .arguments import HelpFormatter

    parser = Parser(
        prog="oxisock",
        description="Scan ports and talk to sockets.",
        epilog="examples:\n"
        "  oxisock scan localhost\n"
        "  oxisock check localhost:22 localhost:443\n"
        "  oxisock demo\n"
        "\n"
        "oxisock COMMAND --help tells more of each command.",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("-V", "--version", action="version", version=f"oxisock {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for name in COMMANDS:
        import_module(f"{__name__}.{name}").add_parser(subparsers)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command with ``argv`` (default: the arguments of the process) and return its exit code."""
    streams.prepare()
    try:
        with ended_by_signals() as exit_code:
            try:
                args = build_parser().parse_args(argv)
                args.exit_code = exit_code
                code: int = args.run(args)
            finally:  # the help is an answer too, and it raises SystemExit
                sys.stdout.flush()
            return code
    except UsageError as error:
        return _fail(str(error))
    except KeyboardInterrupt as error:
        return error.code if isinstance(error, Ended) else EXIT_INTERRUPTED
    except (streams.OutputLost, BrokenPipeError) as error:
        streams.give_up()
        if isinstance(error, streams.OutputLost) and not error.reader_gone:
            return _fail(str(error))
        return EXIT_PIPE
    except OSError as error:
        return _fail(describe(error))


def _fail(message: str) -> int:
    complain(message)
    return EXIT_USAGE


def complain(words: str) -> None:
    """Write an error message to stderr."""
    from ..text import clean
    from .output import message

    # The message stays on one line, whatever text it quotes, and is not too long.
    line = clean(" ".join(words.split()))
    if len(line) > _LONGEST_MESSAGE:
        half = _LONGEST_MESSAGE // 2
        line = f"{line[:half]} [...] {line[-half:]}"
    message(line)


def describe(error: OSError) -> str:
    """Return the system's message for an error, with the file that it is about."""
    words = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {words}" if error.filename is not None else words


def failed_at(endpoint: object, error: Exception) -> int:
    """Report a failed conversation with a peer, with its host and port, and return the exit code."""
    complain(located(endpoint, describe(error) if isinstance(error, OSError) else str(error)))
    return EXIT_NO


def located(endpoint: object, words: str) -> str:
    """Return a message about an endpoint that names the endpoint."""
    return words if str(endpoint) in words else f"{endpoint}: {words}"


@contextmanager
def descriptors_raised() -> Iterator[None]:
    """Raise the soft limit of open files within the block: a command that follows may close them all, one by one."""
    if sys.platform == "win32":
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    raise_descriptor_limit()
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def raise_descriptor_limit() -> None:
    """Raise the soft limit of open files to the hard one: a scanner has thousands of sockets open.

    The library never does this, because the limit belongs to the whole process; the command is the process.
    """
    if sys.platform == "win32":  # there is no such limit
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):  # macOS says that the hard limit is unlimited, but it is not
        return
