"""``oxisock explain``: what are the bytes of this stream?"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from . import EXIT_NO, EXIT_OK
from .arguments import add_impl, examples, face


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    from ..framing.specs import CODEC_HELP

    parser = subparsers.add_parser(
        "explain",
        help="draw the bytes of a framed stream: header, length, body, terminator, fault",
        description="Draw the bytes of a framed stream with what each part is, and where the first fault is. "
        "The exit code is 1 where there is one.",
        **examples(
            "oxisock explain --codec length:4 capture.bin",
            r"oxisock explain --codec 'delimiter:\r\n:max_frame=80' capture.bin",
        ),
    )
    parser.set_defaults(run=run)
    parser.add_argument("file", metavar="FILE", help="where the bytes are; - is the standard input")
    parser.add_argument("--codec", required=True, metavar="CODEC", help=CODEC_HELP.replace("%", "%%"))
    add_impl(parser)


def run(args: argparse.Namespace) -> int:
    """Print the drawing."""
    from ..framing.specs import parse_codec
    from . import UsageError

    try:
        codec = parse_codec(args.codec, face(args.impl))
    except ValueError as error:
        raise UsageError(str(error)) from None
    if args.file == "-":
        data = sys.stdin.buffer.read()
    else:
        with open(args.file, "rb") as file:
            data = file.read()
    print(codec.explain(data))
    try:
        codec.decode(data)
    except ValueError:
        return EXIT_NO
    return EXIT_OK
