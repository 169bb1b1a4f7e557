"""The path: how fast the hosts of a network may be asked, as far as `witnesses` tell."""

from __future__ import annotations

from math import isqrt
from typing import NamedTuple

from ...engines.scanning import ScanPlan
from .host import FLOOR, HEARD, MS
from .witnesses import Over, Witnesses

_NEVER = 1 << 62
_FREE = 64  # so many probes that nobody has answered need no canaries
_SLACK = 2 * MS  # the pace may be behind by so much
_SLOWEST = MS
_SAMPLES, _MOST_SAMPLES = 32, 128
"""So many canaries may tell what a pace is like, and twice as many whether a slower one is better; so many do."""

_FEW_SAMPLES = 2  # where nobody is asked any more of whom nothing is heard, these must do
_FEW_LOSSES = 4  # fewer lost canaries say nothing
_MARGIN, _SLOWED_MARGIN, _LITTLE = 200, 100, 60
"""Per mille, beyond the loss that is there at any pace: what is too much, what is where the pace is slower already,
and what is not."""
_CHANCE_UP, _CHANCE_DOWN = 4, 12  # per mille and 32 canaries: chance follows the lowest quarter of what is lost
_MUCH = 600  # per mille: such loss is no chance, unless it is there at a far slower pace, too
_BETTER = 120  # per mille: where so much more comes through at a slower pace, there is too much at the other
_FAR_SLOWER = 4
_LEAST = 125  # per mille: no review slows down to less of the pace before
_SURE = 4  # after so many reviews without much loss, canaries are seldom
_SELDOM = 10
_HOLD, _LONGEST_HOLD = 4, 64  # so many reviews until the next step up; twice as many each time that was too much


class _Before(NamedTuple):
    """What was before the pace was slowed down."""

    share: int  # what came through, per mille...
    samples: int  # ...as so many canaries told
    interval: int
    pace: int  # the time between two probes as they left


class Path:
    """What the way to the hosts of a scan bears.

    When more canaries get lost than chance explains, hosts are asked more slowly: at the pace at which probes came
    through. Where that does not help, the loss is chance, and the pace is what it was before.
    """

    # fmt: off
    __slots__ = (
        "_answers", "_before", "_calm", "_chance", "_changed_at", "_first", "_hold", "_idle", "_is_quiet",
        "_last_asked", "_last_unheard", "_losses", "_lossy_at", "_lost", "_lost_since", "_reviewed", "_reviewed_at",
        "_sent_before", "_squares", "_steps", "_unlimited", "_watched", "doubted_since", "followed", "interval",
        "next_canary", "next_send", "witnesses",
    )
    # fmt: on

    def __init__(self, plan: ScanPlan, alone: bool) -> None:
        self.followed = plan.adaptive and not alone
        self.witnesses = Witnesses(plan.timeout)
        self._is_quiet = False  # so much waited for answers once that canaries are asked
        self.interval = 0  # between two probes, 0 for any
        self.next_send = 0  # the next one leaves no sooner
        self.next_canary = 0 if self.followed else _NEVER  # nor does the next canary
        self._reviewed = False  # there was a review
        self.doubted_since = -1  # what was asked since then may have been lost: that led to a slower pace
        # Since the last review: probes of the whole scan until then, how long there were none, canaries.
        self._sent_before = self._idle = 0
        self._answers = self._losses = 0
        # For so many probes they stand, those of them that were lost, and the sum of their squares.
        self._watched = self._lost = self._squares = 0
        self._lossy_at = -1  # when it was last found that more than a little was lost
        # When the first canary left that was lost, -1 for none. Before it is known what the path bears, all from the
        # beginning is in doubt.
        self._lost_since = 0
        self._reviewed_at = self._last_asked = self._last_unheard = 0
        self._changed_at = 0  # the pace; canaries that left before say nothing of it
        # The last time that the pace was slowed down, and the first of several in a row.
        self._before: _Before | None = None
        self._first: _Before | None = None
        self._unlimited = 0  # the least time between two probes where it was not limited
        self._chance = 0  # loss, per mille, that is there at any pace
        self._calm = 0  # reviews in a row without much loss
        self._hold = _HOLD
        self._steps = 0  # so many steps up in a row were not too much

    def due(self, now: int, waiting: int) -> tuple[int, int] | None:
        """Return the host and port of a canary that is to leave now, or None; so many probes wait for answers."""
        witnesses = self.witnesses
        self._is_quiet = self._is_quiet or waiting >= _FREE
        if witnesses.unwatched <= witnesses.apart or not self._is_quiet:
            return None
        sure = not self.interval and self._calm >= _SURE
        due = witnesses.due(now, self.interval, _SELDOM if sure else 1)
        self.next_canary = witnesses.next
        return due

    def asked(self, now: int, phase: int) -> None:
        """Note that a host was asked. It is called for every probe."""
        passed = now - self._last_asked
        if passed > _SLACK:
            self._idle += max(0, passed - max(_SLACK, self.interval))
        self._last_asked = now
        if phase != HEARD:
            self.witnesses.unwatched += 1
            self._last_unheard = now
        if interval := self.interval:
            self.witnesses.unwatched += phase == HEARD
            earliest = now - _SLACK
            self.next_send = (self.next_send if self.next_send > earliest else earliest) + interval

    def count(self, over: Over) -> None:
        """Count a canary whose time is over; those that left at another pace say nothing of this one."""
        if not over.tells or over.sent_at < self._changed_at:
            return
        self._watched += over.probes
        self._squares += over.probes * over.probes
        if over.unanswered:
            self._losses += 1
            self._lost += over.probes
            if self._lost_since < 0:
                self._lost_since = over.sent_at
        else:
            self._answers += 1

    def review(self, now: int, sent: int) -> bool:
        """Follow what canaries say, after so many probes of the scan; say whether it was slowed down."""
        if self.interval and not self.witnesses.all:  # they have died, and nobody would ever say that it may go faster
            self._release()
        if not self._knows_enough(now):
            return False
        loss = self._loss()
        too_much = self._is_surely_too_much() or self._is_all_that_will_tell(now)
        self._reviewed = True
        pace = self._pace(sent)
        if not self.interval:
            self._unlimited = min(pace, self._unlimited) if self._unlimited else pace
        if loss > _LITTLE and self._losses >= _FEW_LOSSES:
            self._lossy_at = now
        slowed = too_much and not self._is_chance(1000 - loss, pace)
        # A little more than chance may be the beginning of what is too much in the end.
        doubted = not too_much and loss > self._chance + _LITTLE
        if slowed:
            self._slow_down(now, pace)
        elif too_much:
            self._chance = loss
            self._changed_at = now
        else:
            # With little loss a review needs few canaries. If all reviews counted the same, chance would seem too low.
            samples = self._answers + self._losses
            up, down = _CHANCE_UP * samples // _SAMPLES, _CHANCE_DOWN * samples // _SAMPLES
            self._chance = max(self._chance - down, min(self._chance + up, loss))
            self._follow(loss)
        if not slowed:
            self._before = self._first = None
        self._answers = self._losses = 0
        self._watched = self._lost = self._squares = 0
        if not doubted and (self._lost_since or slowed or self._calm >= _SURE):
            self._lost_since = -1
        self._sent_before, self._idle = sent, 0
        self._reviewed_at = self._last_asked = now
        return slowed

    def idle_at(self) -> int | None:
        """Return when it will have been asked for long enough in vain that few canaries must do, if these tell of loss.

        Until then, no host ends of which nothing is heard.
        """
        if self._answers + self._losses < _FEW_SAMPLES or (self._reviewed and not self._is_surely_too_much()):
            return None
        return self._last_unheard + FLOOR

    def is_in_doubt(self) -> bool:
        """Say whether it is not yet known if too much was sent, so that no host may end of which nothing is heard."""
        return self.idle_at() is not None or (not self._reviewed and self.witnesses.deadline() is not None)

    def has_lost_since(self, time: int) -> bool:
        """Say whether more than a little was lost since then."""
        return self._lossy_at > time

    def _loss(self) -> int:
        return 1000 * self._lost // max(self._watched, 1)

    def _is_surely_too_much(self) -> bool:
        """Say whether the loss is too much even less one standard deviation.

        So few canaries do not slow down a scan by chance. It is asked at every turn of the driver, and the doubt costs
        more than the loss.
        """
        loss = self._loss()
        return self._is_too_much(loss) and self._is_too_much(loss - self._doubt() // 2)

    def _is_all_that_will_tell(self, now: int) -> bool:
        """Say whether too much is lost as far as few canaries tell, where no more of them will come.

        That is so in the first review if every host was asked by then. Hosts would end after it, so the loss is
        believed even if it might be chance.
        """
        may_be_last = not self._reviewed and self._is_idle(now)
        return may_be_last and self._losses >= _FEW_LOSSES and self._is_too_much(self._loss())

    def _is_idle(self, now: int) -> bool:
        """Say whether nobody has been asked for a while of whom nothing is heard, and no canary is under way."""
        return self.witnesses.deadline() is None and now - self._last_unheard >= FLOOR

    def _doubt(self) -> int:
        """Return by how much the loss may be off by chance, per mille: twice its standard deviation."""
        samples = max(1, self._watched * self._watched // max(1, self._squares))  # if all stood for as many
        share = (self._loss() * samples + 1000) // (samples + 2)
        return 2 * isqrt(share * (1000 - share) // samples)

    def _is_too_much(self, loss: int) -> bool:
        return loss > self._chance + (_SLOWED_MARGIN if self.interval else _MARGIN)

    def _knows_enough(self, now: int) -> bool:
        samples = self._answers + self._losses
        needed = _SAMPLES if self._before is None else 2 * _SAMPLES
        if samples >= _MOST_SAMPLES:
            return True
        if samples >= needed // 2:
            loss, doubt = self._loss(), self._doubt()
            if self._is_too_much(loss - doubt) or (samples >= needed and not self._is_too_much(loss + doubt)):
                return True
        return samples >= _FEW_SAMPLES and self._is_idle(now)

    def _is_chance(self, share: int, pace: int) -> bool:
        """Say whether as much is lost although less was sent, and if so, return to the pace before."""
        if self._answers + self._losses < _SAMPLES // 2:
            return False  # so few may be alike by chance
        before, first = self._before, self._first
        if before and before.samples >= _SAMPLES and share > 1000 - _MUCH and not _is_better(share, before.share):
            self.interval = before.interval
        elif first and _is_chance_far_slower(share, pace, first):
            self.interval = first.interval
        else:
            return False
        self._hold = max(_HOLD, self._hold // 2)
        return True

    def _pace(self, sent: int) -> int:
        """Return the time between two probes since the last review, without the pauses between them."""
        took = self._last_asked - self._reviewed_at - self._idle
        return max(1, took // max(sent - self._sent_before, 1))

    def _slow_down(self, now: int, pace: int) -> None:
        # Few canaries know less: as if of two more one came back.
        samples = self._answers + self._losses
        share = ((1000 - self._loss()) * samples + 500 * 2) // (samples + 2)
        # Where less was sent than might have been, the pace seems slower than it was.
        fastest = self.interval or self._unlimited
        pace = min(max(pace, fastest), 2 * fastest)
        self._before = _Before(share, samples, self.interval, pace)
        if self._first is None:
            self._first = self._before
            self._hold = min(2 * self._hold, _LONGEST_HOLD)
        self.interval = min(_SLOWEST, pace * 10_000 // (9 * max(share, _LEAST)))
        self.next_send = self._changed_at = now
        self._calm = self._steps = 0
        self.doubted_since = self._lost_since - FLOOR

    def _follow(self, loss: int) -> None:
        self._calm = self._calm + 1 if loss <= self._chance + _LITTLE + self._doubt() else 0
        if self.interval and self._calm >= self._hold:
            self._calm = 0
            self.interval = self.interval * 8 // (8 + min(8, 1 << self._steps))
            self._steps = min(3, self._steps + 1)
            if self.interval <= self._unlimited:
                self._release()

    def _release(self) -> None:
        self.interval = self.next_send = 0
        self._before = self._first = None


def _is_chance_far_slower(share: int, pace: int, first: _Before) -> bool:
    slower = pace // first.pace
    if slower < _FAR_SLOWER or share >= 2 * first.share or _is_better(share, first.share):
        return False
    return share > 1000 - _MUCH or slower >= _FAR_SLOWER * _FAR_SLOWER


def _is_better(share: int, before: int) -> bool:
    """Say whether more comes through than before, by so much that the pace makes the difference."""
    return share >= min((before + 1000) // 2, before + _BETTER)
