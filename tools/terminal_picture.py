"""Runs a command on a terminal and writes what it showed as an SVG: `terminal_picture.py FILE WIDTH COMMAND...`.

The terminal is rich's idea of one, so that colours and characters are those that a user sees.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

ERASED = re.compile(r"[^\n]*\x1b\[2K")
CURSOR = re.compile(r"\x1b\[\?25[lh]|\x1b\[\d*A")


def shown(command: list[str], width: int) -> str:
    """Give what is on the terminal when the command has ended, in ANSI."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 60, width, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        output = bytearray()
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # Linux says EIO where the last writer has gone
                break
            output += piece
        process.wait()
    os.close(ours)
    text = output.decode().replace("\r\n", "\n")
    # A progress bar writes over itself: what it wrote before is not on the terminal any more.
    text = CURSOR.sub("", ERASED.sub("", text))
    return "\n".join(line.rpartition("\r")[2] for line in text.split("\n"))


def main(path: str, width: str, *command: str) -> None:
    """Run the command and write the picture."""
    console = Console(record=True, width=int(width), file=io.StringIO(), force_terminal=True)
    console.print(f"[bold]$[/bold] {shlex.join(command)}", highlight=False)
    console.print(Text.from_ansi(shown(list(command), int(width)).rstrip("\n")))
    picture = console.export_svg(title="oxisock", unique_id="oxisock")
    # Pictures load nothing from elsewhere: the fonts are those that the reader has.
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    Path(path).write_text(picture.replace("Fira Code", "ui-monospace, Menlo, Consolas"))


if __name__ == "__main__":
    main(*sys.argv[1:])
