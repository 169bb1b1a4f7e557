"""``oxisock explain``: what are the bytes of this stream?"""

from __future__ import annotations

import argparse
import shutil
import sys
from typing import Any

from . import EXIT_NO, EXIT_OK
from .arguments import add_impl, examples, face
from .output import is_terminal, message, paint
from .streams import read_input

_COLOURS = {"title": "bold", "offset": "dim", "header": "cyan", "body": "green", "terminator": "yellow", "fault": "red"}


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    from ..framing.specs import CODEC_HELP

    parser = subparsers.add_parser(
        "explain",
        help="draw the bytes of a framed stream: header, length, body, terminator, fault",
        description="Draw the bytes of a framed stream, what each part is, and where the first fault is. "
        "The exit code is 1 if there is a fault.",
        **examples(
            "oxisock explain --codec length:4 capture.bin",
            r"oxisock explain --codec 'delimiter:\r\n:max_frame=80' capture.bin",
            r"printf '\0\5hello' | oxisock explain --codec length:2",
        ),
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "file", nargs="?", default="-", metavar="FILE", help="where the bytes are (default: the standard input, -)"
    )
    parser.add_argument("--codec", required=True, metavar="CODEC", help=CODEC_HELP.replace("%", "%%"))
    add_impl(parser)


def run(args: argparse.Namespace) -> int:
    """Print the drawing."""
    from ..framing.explaining import explain
    from ..framing.specs import parse_codec
    from . import UsageError

    try:
        codec = parse_codec(args.codec, face(args.impl))
    except ValueError as error:
        raise UsageError(str(error)) from None
    if args.file == "-" and sys.stdin.isatty():
        message("reading the standard input; Ctrl-D ends it")
    data = read_input(args.file)
    width = shutil.get_terminal_size().columns if is_terminal(sys.stdout) else None
    print(explain(codec, data, lambda text, kind: paint(text, _COLOURS[kind], sys.stdout), width))
    try:
        codec.decode(data)
    except ValueError:
        return EXIT_NO
    return EXIT_OK
