"""Reads scan reports from JSON and NDJSON, and says what is wrong with bad ones."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..types import PortResult, PortState, ScanSource, ScanStats
from .asked import NotAsked
from .formats import SCHEMA
from .sorting import address_key

if TYPE_CHECKING:
    from collections.abc import Callable


def from_json(text: str | bytes) -> dict[str, Any]:
    """Return the arguments of the ScanReport that ``text`` holds."""
    document = _parse(text, "not a scan report")
    _expect(isinstance(document, dict), "not a scan report", "a JSON object", document)
    return _arguments(document, _member(document, "results", list))


def from_ndjson(text: str | bytes) -> dict[str, Any]:
    """Return the arguments of the ScanReport that these lines hold.

    If the summary is missing, because the writer was killed, the report is partial and counts the results it has. The
    last line may then be incomplete.
    """
    lines: list[Any] = text.split(b"\n") if isinstance(text, bytes) else text.split("\n")
    results: list[Any] = []
    summary: dict[str, Any] | None = None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"line {number}"
        try:
            document = _parse(line, where)
        except ValueError:
            if number == len(lines) and results and summary is None:
                break
            raise
        kind = document.get("type") if isinstance(document, dict) else None
        _expect(kind in ("result", "summary"), where, "an object with the type 'result' or 'summary'", document)
        if summary is not None:
            raise ValueError(f"{where}: text after the summary: expected the summary on the last line")
        if kind == "summary":
            summary = document
        else:
            results.append(document)
    if summary is not None:
        return _arguments(summary, results)
    if not results:
        raise ValueError("not a scan report: its last line, the summary, is missing")
    found = _results(results)
    counts = {state: sum(result.state is state for result in found) for state in PortState}
    return {"results": found, "counts": counts, "stats": ScanStats(), "partial": True}


def _parse(text: str | bytes, where: str) -> Any:
    import json

    def refuse(word: str) -> None:
        raise ValueError(f"{where}: {word} is not a number of JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{where}: not JSON: {error}") from None
    except RecursionError:
        raise ValueError(f"{where}: nested too deeply") from None


def _arguments(document: dict[str, Any], results: list[Any]) -> dict[str, Any]:
    schema = document.get("schema")
    if schema != SCHEMA or isinstance(schema, bool):
        raise ValueError(
            f"not a scan report of schema {SCHEMA}, the one that this version of oxisock reads: schema is {schema!r}"
        )
    counts = _member(document, "counts", dict)
    for state in PortState:
        _check(_count, counts.get(state), f"counts.{state}")
    # Older reports have no counts of hosts.
    stats = dict.fromkeys(("hosts", "hosts_up", "hosts_unreachable", "hosts_silent", "unasked"), 0)
    stats |= _member(document, "stats", dict)
    for name, default in ScanStats._field_defaults.items():
        _check(_count if isinstance(default, int) else _seconds, stats.get(name), f"stats.{name}")
    unresolved = _member(document, "unresolved", dict)
    for name, message in unresolved.items():
        _check(_text, message, f"unresolved.{name}")
    _check(_or_none(_integer), document.get("seed"), "seed")
    _check(_seconds, document.get("elapsed"), "elapsed")
    _check(_or_none(_seconds), document.get("started"), "started")
    _check(_or_none(_count), document.get("addresses"), "addresses")
    sources = document.get("sources", [])
    _expect(isinstance(sources, list), "sources", "a list", sources)
    names = document.get("names", {})
    _expect(isinstance(names, dict), "names", "an object", names)
    for address, spellings in names.items():
        _check(_texts, spellings, f"names.{address}")
    for name in ("targets", "exclude"):
        _check(_or_none(_texts), document.get(name), name)
    _check(_or_none(_text), document.get("ports"), "ports")
    not_asked = document.get("not_asked", [])
    _expect(isinstance(not_asked, list), "not_asked", "a list", not_asked)
    for number, part in enumerate(not_asked):
        _expect(isinstance(part, dict), f"not_asked[{number}]", "a JSON object", part)
        for name in NotAsked._fields:
            _check(_text, part.get(name), f"not_asked[{number}].{name}")
    return {
        "targets": document.get("targets"),
        "ports": document.get("ports"),
        "exclude": document.get("exclude") or [],
        "names": names,
        "not_asked": [NotAsked(**{name: part[name] for name in NotAsked._fields}) for part in not_asked],
        "sources": [_source(source, f"sources[{number}]") for number, source in enumerate(sources)],
        "results": _results(results),
        "counts": {state: counts[state] for state in PortState},
        "stats": ScanStats(**{name: stats[name] for name in ScanStats._fields}),
        "unresolved": unresolved,
        "seed": document.get("seed"),
        "partial": _member(document, "partial", bool),
        "elapsed": document["elapsed"],
        "started": document.get("started"),
        "addresses": document.get("addresses"),
    }


def _source(document: Any, where: str) -> ScanSource:
    _expect(isinstance(document, dict), where, "a JSON object", document)
    for name, check in _SOURCE.items():
        _check(check, document.get(name), f"{where}.{name}")
    return ScanSource(**{name: document.get(name) for name in ScanSource._fields})


def _results(documents: list[Any]) -> list[PortResult]:
    """Return the results. Raises ValueError if an (address, port) pair occurs twice."""
    results, seen = [], set()
    for number, document in enumerate(documents):
        where = f"results[{number}]"
        _expect(isinstance(document, dict), where, "a JSON object", document)
        result = _result(document, where)
        if (result.address, result.port) in seen:
            raise ValueError(f"{where}: port {result.port} of {result.address} appears twice")
        seen.add((result.address, result.port))
        results.append(result)
    return results


def _result(document: dict[str, Any], where: str) -> PortResult:
    import base64

    for name, check in _RESULT.items():
        _check(check, document.get(name), f"{where}.{name}")
    state, rtt, banner = PortState(document["state"]), document.get("rtt"), document.get("banner")
    if state is PortState.OPEN and rtt is None:
        raise ValueError(f"{where}.rtt: an open port has a round trip, got null")
    try:
        decoded = None if banner is None else base64.b64decode(banner, validate=True)
    except ValueError as error:
        raise ValueError(f"{where}.banner: not base64: {error}") from None
    return PortResult(
        document["host"], document["address"], document["port"], state, document["reason"], rtt,
        document.get("service"), decoded,
    )  # fmt: skip


Check = tuple["Callable[[Any], bool]", str]
"""A test of a value, and a text that says what it expects."""


def _is_address(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        address_key(value)
    except ValueError:
        return False
    return True


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_seconds(value: Any) -> bool:
    # An integer too long for a float makes isfinite raise OverflowError.
    return (_is_integer(value) and 0 <= value < 2**63) or (
        isinstance(value, float) and math.isfinite(value) and value >= 0
    )


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check[0](value), f"{check[1]} or null"


_text: Check = (lambda value: isinstance(value, str), "a string")
_texts: Check = (
    lambda value: isinstance(value, list) and all(isinstance(each, str) for each in value),
    "a list of strings",
)
_integer: Check = (_is_integer, "an integer")
_count: Check = (lambda value: _is_integer(value) and value >= 0, "an integer of at least 0")
_seconds: Check = (_is_seconds, "a number of seconds")
_SOURCE: dict[str, Check] = {
    "task": _count,
    "host": _text,
    "address": _or_none(_text),
    "seconds": _seconds,
    "probes": _count,
}
_RESULT: dict[str, Check] = {
    "host": _text,
    "address": (_is_address, "an IP address"),
    "port": (lambda value: _is_integer(value) and 1 <= value <= 65535, "an integer from 1 to 65535"),
    "state": (
        lambda value: isinstance(value, str) and value in list(PortState),
        "one of " + ", ".join(repr(str(state)) for state in PortState),
    ),
    "reason": _text,
    "rtt": _or_none(_seconds),
    "service": _or_none(_text),
    "banner": _or_none(_text),
}


def _check(check: Check, value: Any, where: str) -> None:
    _expect(check[0](value), where, check[1], value)


def _member(document: dict[str, Any], name: str, kind: type) -> Any:
    if name not in document:
        raise ValueError(f"not a scan report: {name!r} is missing")
    words = {list: "a list", dict: "an object", bool: "true or false"}[kind]
    _expect(isinstance(document[name], kind), name, words, document[name])
    return document[name]


def _expect(true: bool, where: str, expected: str, value: Any) -> None:
    if not true:
        got = repr(value)
        raise ValueError(f"{where}: expected {expected}, got {got if len(got) <= 60 else got[:57] + '...'}")
