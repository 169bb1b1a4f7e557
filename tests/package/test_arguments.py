"""What public functions make of values that make no sense: refused alike, in words that name the parameter."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Any

import pytest

from oxisock import arguments

HUGE = 10**400


class Index:
    """What numpy's whole numbers are to us."""

    def __init__(self, value: int) -> None:
        self._value = value

    def __index__(self) -> int:
        return self._value


class Mute:
    """A value that cannot even be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class TestNumbers:
    @pytest.mark.parametrize("value", [80, Index(80)], ids=["int", "index"])
    def test_whole_numbers_are_taken(self, value: Any) -> None:
        assert arguments.port(value) == arguments.count(value, "n") == arguments.size(value, "n") == 80

    @pytest.mark.parametrize("value", [True, 80.0, "80", None, b"80", [80], int], ids=repr)
    def test_others_are_not(self, value: Any) -> None:
        for check in (arguments.port, arguments.count, arguments.size):
            with pytest.raises(TypeError, match=rf"^ring={re.escape(repr(value))}: expected a .* from 1 to "):
                check(value, "ring")

    @pytest.mark.parametrize("value", [0, -1, 65536, 2**64, HUGE, -HUGE], ids=["0", "-1", "65536", "2**64", "+", "-"])
    def test_ports_out_of_range(self, value: int) -> None:
        with pytest.raises(ValueError, match=r"^port=.{1,20}: expected a port from 1 to 65535$"):
            arguments.port(value)

    def test_any_free_port(self) -> None:
        assert arguments.port(0, lowest=0) == 0

    def test_limits_are_written_as_one_reads_them(self) -> None:
        with pytest.raises(ValueError, match=r"^n=0: expected a whole number from 1 to 2\*\*31 - 1$"):
            arguments.count(0, "n")
        with pytest.raises(ValueError, match=r"^n=-1: expected a whole number from 0 to 2\*\*64 - 1$"):
            arguments.count(-1, "n", 0, 2**64 - 1)


class TestTimes:
    @pytest.mark.parametrize("value", [None, math.inf, HUGE, 1e300, 2**63, arguments.LONGEST], ids=str)
    def test_no_limit(self, value: Any) -> None:
        assert arguments.timeout(value) is None

    @pytest.mark.parametrize("value", [None, math.inf, HUGE, 1e300, 2**63], ids=str)
    def test_no_limit_in_nanoseconds(self, value: Any) -> None:
        assert arguments.nanoseconds(value, "t") == arguments.NEVER

    @pytest.mark.parametrize("value", [2, 2.0, Fraction(2), Index(2)], ids=repr)
    def test_seconds(self, value: Any) -> None:
        assert arguments.timeout(value) == arguments.seconds(value, "t") == 2.0
        assert arguments.nanoseconds(value, "t") == 2_000_000_000

    def test_the_shortest_time_is_some(self) -> None:
        assert arguments.nanoseconds(5e-324, "t") == 1
        assert arguments.nanoseconds(0, "t", zero=True) == 0

    @pytest.mark.parametrize("value", [0, -1, -math.inf, math.nan, -HUGE, -1e300], ids=str)
    def test_wrong_times(self, value: Any) -> None:
        for check in (arguments.timeout, arguments.nanoseconds, arguments.seconds):
            with pytest.raises(ValueError, match="^wait=.*: expected more than 0 seconds"):
                check(value, "wait")

    @pytest.mark.parametrize("value", [-1, math.nan], ids=str)
    def test_wrong_times_where_0_is_one(self, value: Any) -> None:
        with pytest.raises(ValueError, match="^wait=.*: expected seconds from 0 up, or None for no limit$"):
            arguments.timeout(value, "wait", zero=True)

    @pytest.mark.parametrize("value", [True, "1", b"1", [1], 1j, float], ids=repr)
    def test_what_is_no_time(self, value: Any) -> None:
        for check in (arguments.timeout, arguments.nanoseconds, arguments.seconds, arguments.chance):
            with pytest.raises(TypeError, match="^wait=.*: expected "):
                check(value, "wait")

    @pytest.mark.parametrize("value", [None, math.inf, HUGE], ids=str)
    def test_a_pause_has_an_end(self, value: Any) -> None:
        with pytest.raises((TypeError, ValueError), match="^interval=.*: expected more than 0 seconds and less than"):
            arguments.seconds(value, "interval")

    def test_rates(self) -> None:
        assert arguments.rate(None, "rate", "lines") == arguments.rate(math.inf, "rate", "lines") == 0
        assert arguments.rate(3, "rate", "lines") == 333_333_334
        for value in (0, -1, math.nan, 1e-320, 1e10, -math.inf):
            with pytest.raises(ValueError, match="^rate=.*: expected 0.001 to 1e9 lines a second"):
                arguments.rate(value, "rate", "lines")


class TestTheRest:
    def test_flags(self) -> None:
        assert arguments.flag(True, "keep") is arguments.flag(1, "keep") is True
        for value in (None, "yes", 0.0, [], 2):
            with pytest.raises((TypeError, ValueError), match="^keep=.*: expected True or False$"):
                arguments.flag(value, "keep")

    def test_hosts(self) -> None:
        assert arguments.host(" localhost ") == "localhost"
        assert arguments.host("", empty=True) == ""
        for value in ("", " ", "a\0b", "a\nb", "\ud800"):
            with pytest.raises(ValueError, match="^host=.*: expected a name or an address$"):
                arguments.host(value)

    def test_bytes(self) -> None:
        assert arguments.bytes_like(memoryview(b"abcd")[::2], "data") == b"ac"
        for value in ("x", 5, [1], None):
            with pytest.raises(TypeError, match="^data=.*: expected bytes$"):
                arguments.bytes_like(value, "data")
        with pytest.raises(ValueError, match="^data=b'x+.* of 99 bytes: expected 0 to 9 bytes$"):
            arguments.bytes_like(b"x" * 99, "data", 0, 9)

    def test_choices(self) -> None:
        assert arguments.choice("b", "way", ("a", "b")) == "b"
        with pytest.raises(ValueError, match="^way='c': expected 'a' or 'b'$"):
            arguments.choice("c", "way", ("a", "b"))
        with pytest.raises(TypeError, match="^way=1: expected 'a' or 'b'$"):
            arguments.choice(1, "way", ("a", "b"))

    def test_a_class_is_no_object_of_it(self) -> None:
        with pytest.raises(TypeError, match="^codec=<class .*: expected a codec, with encode and decoder$"):
            arguments.codec(type("Codec", (), {"encode": bytes, "decoder": bytes}))

    def test_values_are_shown_short_whatever_they_are(self) -> None:
        assert arguments.shown(Mute()).startswith("<Mute")
        assert len(arguments.shown("x" * 10**6)) < 80
        assert arguments.shown(-HUGE) == "about -2**1328"
