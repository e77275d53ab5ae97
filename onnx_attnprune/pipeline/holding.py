"""How much less would have to go, where the result of a run is too far from the original to be of use."""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from onnx_attnprune import surgery
from onnx_attnprune.errors import NothingToPruneError
from onnx_attnprune.evaluate.likeness import Likeness
from onnx_attnprune.graph import ModelProto
from onnx_attnprune.pipeline.budgets import Budgets
from onnx_attnprune.pipeline.choice import Work, channels_left, planned, work_of
from onnx_attnprune.pipeline.repair import repair
from onnx_attnprune.pipeline.request import Clock, Request
from onnx_attnprune.pipeline.source import Source
from onnx_attnprune.pipeline.usefulness import Judge, judge_of
from onnx_attnprune.planning import option
from onnx_attnprune.report import HeldTrial, Holding

TRIES = 4
SURE = 1 / 3  # of what may be missing on samples that the repair has seen; on others some three times as much is
AIM = 0.8  # of what may be missing: what a try is chosen for
SHORT, LONG = 30.0, 600.0  # seconds that the tries may take, however short or long the run was
STEPS = 100  # amounts are hundredths, so that what is named is what was tried
NEAR = 0.1  # of what was asked for: two amounts closer than this are one
TINY = 1e-9
MOST_MISSING = 0.95  # of what values vary, from which an error can be told
MADE_UP, UNWANTED = "made-up samples are not worth tries", "no tries were wanted"
AMOUNTS = ("ratio", "target_macs", "target_params", "target_bytes")


def what_would_hold(
    request: Request, source: Source, work: Work, result: ModelProto, clock: Clock, folder: Path
) -> Holding | None:
    """None where the result is of use as far as samples tell, or where nothing can be told or asked for instead.

    Where the repair has seen all samples, and the result is not much like the original on them, a repair on three
    quarters of them is judged on the rest. Where that falls short, smaller amounts are cut, repaired and judged in the
    same way, at most TRIES in all, in no more time than the run took. Made-up samples are not worth it: there, and
    where the request wants no tries, an amount is foretold.
    """
    amount = next((a for a in AMOUNTS if getattr(request.settings, a) is not None), None)
    if request.would_hold == "off" or amount is None or work.budgets is None or not request.fits:
        return None
    so_far = sum(stage.seconds for stage in clock.stages)
    repaired = sum(stage.seconds for stage in clock.stages if stage.name == "repair")
    with clock.stage("what would hold"):
        judge = judge_of(request, source, work.budgets, folder)
        if judge is None:
            return None
        first = judge.judge(result)
        if first.off <= (1.0 if judge.fitting is None else SURE):
            return None
        made_up = source.data is None and source.calibration is None
        untried = MADE_UP if made_up else UNWANTED if request.would_hold == "foretell" else ""
        room = 0.0 if untried else min(max(SHORT, so_far), LONG)
        search = _Search(request, source, work.budgets, judge, amount, clock, time.perf_counter() + room, repaired)
        return search.found(work, first, made_up, untried)


@dataclass
class _Search:
    """Tries of smaller amounts. An amount is told as its strength: the share that goes, of channels or of a cost."""

    request: Request
    source: Source
    budgets: Budgets
    judge: Judge
    amount: str
    clock: Clock
    end: float
    slowest: float  # seconds of a try
    trials: list[HeldTrial] = field(default_factory=list)
    works: dict[float, Work | None] = field(default_factory=dict)

    def found(self, work: Work, first: Likeness, made_up: bool, untried: str) -> Holding | None:
        """What is told of the result, which `first` judges. untried: why nothing is tried ("": it is)."""
        asked = self._told(getattr(self.request.settings, self.amount))
        self.works[asked] = work
        on, why = self.judge.on, ""
        if self.judge.fitting is not None and self._in_time():
            first, on = self._try(asked), f"{on} that the repair did not see"
            if first.off <= 1:
                return None
        elif first.off <= 1:
            return None
        low, high, off = 0.0, asked, self._error_of(first)
        foretold = None
        while (aim := self._aim(low, high, off)) is not None:
            if not self._in_time() or len(self.trials) == TRIES:
                foretold = None if low else aim
                why = untried or self._why()
                break
            found = self._try(aim)
            low, high, off = (aim, high, off) if found.off <= 1 else (low, aim, self._error_of(found))
        return Holding(
            option(self.amount), getattr(self.request.settings, self.amount), first.measure, first.enough, first.main,
            self.judge.samples, on, made_up, tuple(self.trials), self._told(low) if low else None,
            None if foretold is None else self._told(foretold), why,
        )  # fmt: skip  # in the order of the fields

    def _told(self, strength: float) -> float:
        """A strength as the option says it, and back."""
        return strength if self.amount == "ratio" else round(1 - strength, 6)

    def _in_time(self) -> bool:
        return time.perf_counter() + self.slowest <= self.end

    def _why(self) -> str:
        if len(self.trials) == TRIES:
            return f"{TRIES} amounts were tried"
        return f"a try takes about {self.slowest:.0f} s"

    # ------------------------------------------------------------ where to try
    def _aim(self, low: float, high: float, off: float) -> float | None:
        """The next strength, `off` by so much at `high`; None where none is left between the two."""
        if high - low <= max(NEAR * self._told(getattr(self.request.settings, self.amount)), 1 / STEPS):
            return None
        between = range(int(low * STEPS) + 1, math.ceil(high * STEPS - TINY))
        # Rounding makes no choice of the least strengths, and the same choice of the greatest as of `high`.
        first = between.start + bisect_left(between, True, key=lambda k: self._work(k / STEPS) is not None)
        last = between.start + bisect_left(between, True, key=lambda k: self._same(k / STEPS, high)) - 1
        if last < first:
            return None
        within, over = first - 1, last + 1
        while over - within > 1:
            middle = (within + over) // 2
            if off * (self._error(middle / STEPS) / max(self._error(high), TINY)) ** self.judge.power <= AIM:
                within = middle
            else:
                over = middle
        if within < first:  # all of them may be too much, or the one that held is the best that is foretold
            within = (first + last) // 2 if low else max(first, last // 4)
        return within / STEPS

    def _error_of(self, found: Likeness) -> float:
        """The error behind what is missing, in units of the one that may be.

        Of values, a repair of an error e, relative to what they vary, leaves e / (1 + e) missing: that levels off where
        deep cuts do not.
        """
        if self.judge.power < 1 or not math.isfinite(found.off):
            return found.off
        missing, may = min(1 - found.main, MOST_MISSING), 1 - found.enough
        return (missing / (1 - missing)) / (may / (1 - may))

    def _same(self, one: float, two: float) -> bool:
        chosen = [w.plan.removed if w is not None else None for w in (self._work(one), self._work(two))]
        return chosen[0] == chosen[1]

    def _error(self, strength: float) -> float:
        """The error that is foretold, in units of its own."""
        work = self._work(strength)
        return 0.0 if work is None else self.budgets.foretold(work.plan.removed)

    def _work(self, strength: float) -> Work | None:
        """The choice at a strength; None where nothing would go."""
        if strength not in self.works:
            amount: dict[str, Any] = {self.amount: self._told(strength)}
            settings = replace(self.request.settings, **amount)
            try:
                self.works[strength] = work_of(self.budgets, planned(self.budgets, settings, self.clock.tell))
            except NothingToPruneError:
                self.works[strength] = None
        return self.works[strength]

    # ------------------------------------------------------------ one try
    def _try(self, strength: float) -> Likeness:
        told = self._told(strength)
        self.clock.tell(f"what would hold: {option(self.amount)} {told:g}, try {len(self.trials) + 1} of {TRIES}")
        start = time.perf_counter()
        work = self._work(strength)
        assert work is not None  # an error of nothing is never off
        cut = surgery.prune(work.analysis, work.alive)
        found = self.judge.judge(
            repair(self.request, self.source, work, cut, self.clock.tell, self.judge.fitting).model
        )
        self.slowest = max(self.slowest, time.perf_counter() - start)
        left = self.budgets.left("macs", work.alive)
        self.trials.append(HeldTrial(told, channels_left(work), left, found.main, found.least, found.off <= 1))
        return found
