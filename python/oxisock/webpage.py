"""The frame of the HTML pages that oxisock writes: one file that loads nothing, for phones and dark mode."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --card: #f6f8fa; --ink: #1b1f24; --faint: #57606a; --line: #d8dee4;
  --warn: #fff3cd; --good: #116329; --bad: #a40e26; --middling: #7d4e00 }
@media (prefers-color-scheme: dark) { :root { --paper: #0d1117; --card: #161b22; --ink: #e6edf3; --faint: #9da7b3;
  --line: #30363d; --warn: #3d3000; --good: #56d364; --bad: #ff7b72; --middling: #e3b341 } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 76rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .5rem 0 }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem }
p, dl { margin: .5rem 0 }
.faint, figcaption { color: var(--faint); font-size: .875rem }
.warn { background: var(--warn); border-radius: .4rem; padding: .6rem .8rem }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: .5rem }
table { border-collapse: collapse; width: 100%; font-size: .875rem; font-variant-numeric: tabular-nums }
th, td { padding: .4rem min(.7rem, 1.6vw); text-align: left; white-space: nowrap; border-top: 1px solid var(--line) }
thead th { background: var(--card); border-top: 0 }
td.right, th.right { text-align: right }
details { border: 1px solid var(--line); border-radius: .5rem; margin: .5rem 0 }
summary { cursor: pointer; padding: .5rem .7rem }
details .scroll { border-width: 1px 0 0; border-radius: 0 }
details p { padding: 0 .7rem }
pre { background: var(--card); padding: .7rem; border-radius: .5rem; overflow-x: auto }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; font-size: .9rem }
dt { color: var(--faint) } dd { margin: 0; overflow-wrap: anywhere }
"""


def page(title: str, body: str, style: str = "") -> str:
    """Return a page. The title is text, the body is HTML, and ``style`` is added to the style of all pages."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )


def cell(text: str, *classes: str, tag: str = "td") -> str:
    """Return a cell of a table with some classes. ``tag`` may have attributes."""
    named = f' class="{" ".join(classes)}"' if classes else ""
    return f"<{tag}{named}>{escape(text)}</{tag.partition(' ')[0]}>"


def table(heading: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table of cells. It scrolls if it is wider than the page."""
    body = "".join(f"<tr>{''.join(row)}</tr>\n" for row in rows)
    head = f"<thead><tr>{''.join(heading)}</tr></thead>"
    return f'<div class="scroll" tabindex="0"><table>\n{head}\n<tbody>\n{body}</tbody>\n</table></div>\n'


def warnings(lines: Iterable[str]) -> str:
    """Return warnings, a paragraph for each line."""
    return "".join(f'<p class="warn">{escape(line)}</p>\n' for line in lines)


def facts(values: Mapping[str, str]) -> str:
    """Return names with their values, one on each line."""
    return "<dl>" + "".join(f"<dt>{name}</dt><dd>{escape(fact)}</dd>" for name, fact in values.items()) + "</dl>\n"


def tiles(values: dict[str, str]) -> str:
    """Return figures in a row, each with its name; ``TILES`` is their style."""
    cells = "".join(f"<div><b>{escape(value)}</b><span>{escape(name)}</span></div>" for name, value in values.items())
    return f'<div class="tiles">{cells}</div>\n'


TILES = """
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(7rem, 1fr)); gap: .6rem; margin: 1rem 0 }
.tiles div { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .5rem .8rem }
.tiles b { display: block; font-size: 1.35rem; line-height: 1.3; font-variant-numeric: tabular-nums }
.tiles span { color: var(--faint); font-size: .8rem }
"""
