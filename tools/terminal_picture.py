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

CONTROLS = re.compile(r"(\r|\n|\x1b\[2K|\x1b\[\d*A|\x1b\[\?25[lh])")


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
    return "\n".join(on_screen(output.decode()))


def on_screen(output: str) -> list[str]:
    """Give the lines that are left on a terminal: a progress bar writes over itself, and is erased when it is done."""
    lines, row, anew = [""], 0, False
    for part in CONTROLS.split(output):
        if part == "\n":
            row, anew = row + 1, False
            if row == len(lines):
                lines.append("")
        elif part == "\r":
            anew = True
        elif part == "\x1b[2K":
            lines[row] = ""
        elif part.endswith("A") and CONTROLS.fullmatch(part):
            row = max(0, row - int(part[2:-1] or 1))
        elif part and not CONTROLS.fullmatch(part):
            lines[row] = part if anew else lines[row] + part
            anew = False
    return lines


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
