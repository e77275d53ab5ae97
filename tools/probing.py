"""What the check tools share: one model analysed, pruned and compared with its masked self, and a line that says it.

Nothing here is for users of the package; `check_models`, `check_variants` and `check_operators` import it.
"""

from __future__ import annotations

import re
import sys
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from onnx_attnprune import surgery
from onnx_attnprune.errors import AttnPruneError, NothingToPruneError
from onnx_attnprune.evaluate.equivalence import TOLERANCE, compare, within
from onnx_attnprune.evaluate.feeds import concrete_shapes, input_specs, is_float, random_feeds
from onnx_attnprune.graph import (
    Graph,
    ModelProto,
    all_tensors,
    float_type,
    index_limits,
    interface_change,
    is_quantised,
    parameter_count,
    structural_fault,
    with_even_scales,
)  # fmt: skip  # a list of names
from onnx_attnprune.grouping import Analysis, alive_of, analyze
from onnx_attnprune.planning import Settings, choose
from onnx_attnprune.runtime import Optimisation, Session

Array = np.ndarray[Any, Any]
Feeds = Mapping[str, Array]
NOISE = 10  # a difference of so many times what a last bit of the weights does to the outputs may be rounding


class Outcome(Enum):
    """How a check ended; the last three are what the tools fail on, or tell of."""

    EXACT = "exact"
    REFUSED = "refused"
    NOT_RUN = "not run"  # the original itself can't be run here, so nothing can be compared
    WRONG = "WRONG"
    CRASH = "CRASH"


@dataclass(frozen=True)
class Ask:
    """What to remove, and what to feed: (pattern of names, input, shape or value) where the usual ones don't do."""

    ratio: float = 0.3
    criterion: str = "attention"
    shapes: tuple[tuple[str, str, tuple[int, ...]], ...] = ()
    values: tuple[tuple[str, str, float], ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Verdict:
    """What came of one model. macs, parameters: shares that are left. held: (share of the parameters, reason)."""

    name: str
    outcome: Outcome
    why: str = ""
    groups: int = 0
    macs: float = 1.0
    parameters: float = 1.0
    off: float = 0.0
    held: tuple[tuple[float, str], ...] = field(default=())

    @property
    def failed(self) -> bool:
        """True for what must never happen."""
        return self.outcome in (Outcome.WRONG, Outcome.CRASH)

    def row(self) -> str:
        """A row of the table."""
        held = "; ".join(f"{share:.0%} {reason}" for share, reason in self.held)
        told = ". ".join(part for part in (self.why, held) if part).replace("|", "/")
        if self.outcome is Outcome.EXACT:
            left = f"{self.groups} | {self.macs:.2f} | {self.parameters:.2f} | {self.off:.0e}"
        else:
            left = f"{self.groups} | | |"
        return f"| {self.name} | {self.outcome.value} | {left} | {told} |"


HEAD = """| model | | groups | MACs left | parameters left | off by | what holds the rest (share of the parameters) |
| --- | --- | ---: | ---: | ---: | ---: | --- |"""


def probe(name: str, model: ModelProto, ask: Ask) -> Verdict:
    """Prune a model in memory by the default plan, and compare it with the masked original, ORT's optimiser off."""
    try:
        return _probed(name, model, ask)
    except AttnPruneError as error:
        return Verdict(name, Outcome.REFUSED, str(error))
    except Exception:  # a traceback is what these tools look for: it becomes the verdict
        return Verdict(name, Outcome.CRASH, " < ".join(traceback.format_exc(limit=-3).strip().splitlines()[::-1]))


def _probed(name: str, model: ModelProto, ask: Ask) -> Verdict:
    specs = input_specs(model)
    mine = {s.name for s in specs}
    shapes = concrete_shapes(specs, {i: shape for p, i, shape in ask.shapes if i in mine and fnmatchcase(name, p)})
    analysis = analyze(Graph(model), shapes)
    held = what_holds(analysis)
    try:
        removed = choose(analysis, Settings(ratio=ask.ratio, criterion=ask.criterion, seed=ask.seed)).removed
    except NothingToPruneError as error:
        return Verdict(name, Outcome.REFUSED, str(error), held=held)
    feeds = random_feeds(specs, shapes, ask.seed, index_limits(analysis.graph))
    for pattern, given, value in ask.values:
        if given in feeds and fnmatchcase(name, pattern):
            feeds[given] = np.full_like(feeds[given], value)
    alive = alive_of(analysis.groups, removed)
    outcome, why, off = compared(analysis, alive, feeds)
    left = parameter_count(surgery.prune(analysis, alive)) / max(parameter_count(model), 1)
    macs = analysis.macs(alive) / max(analysis.macs({}), 1)
    return Verdict(name, outcome, why, len(analysis.groups), macs, left, off, held)


def compared(analysis: Analysis, alive: Mapping[int, Any], feeds: Feeds) -> tuple[Outcome, str, float]:
    """Whether the pruned model is in order and computes what the masked one does; else what is the matter."""
    original = analysis.graph.model
    try:
        before = Session(original, optimisation=Optimisation.NONE).run(feeds)
    except AttnPruneError as error:
        return Outcome.NOT_RUN, str(error), 0.0
    pruned, masked = surgery.prune(analysis, alive), surgery.mask(analysis, alive)
    if fault := interface_change(original, pruned):
        return Outcome.WRONG, fault, 0.0
    if (fault := structural_fault(pruned)) and not structural_fault(original):
        return Outcome.WRONG, fault, 0.0
    want = Session(masked, optimisation=Optimisation.NONE).run(feeds)
    try:
        got = Session(pruned, optimisation=Optimisation.NONE).run(feeds)
    except AttnPruneError as error:
        return Outcome.WRONG, str(error), 0.0
    outcome, why, off = _judged(masked, pruned, want, got, feeds)
    moved = max((d.max_rel for d in compare(list(before), before, got)), default=0.0)
    if outcome is Outcome.EXACT and moved <= off:
        why = f"the cut moves the outputs by {moved:.0e} only, so this proves little. {why}".strip()
    return outcome, why, off


def _judged(
    masked: ModelProto, pruned: ModelProto, want: Feeds, got: Feeds, feeds: Feeds
) -> tuple[Outcome, str, float]:
    differences = compare(list(want), want, got)
    off = max((d.max_rel for d in differences), default=0.0)
    tolerance = TOLERANCE[float_type(masked)]
    if within(differences, tolerance):
        return Outcome.EXACT, "", off
    if is_quantised(masked):
        even = with_even_scales(masked), with_even_scales(pruned)
        for how, run in (("", plainly), (" and with 8-bit kernels that don't saturate", precise)):
            want, got = run(even[0], feeds), run(even[1], feeds)
            differences = compare(list(want), want, got)
            if within(differences, tolerance):
                told = f"with scales that are powers of two{how}"
                return Outcome.EXACT, told, max((d.max_rel for d in differences), default=0.0)
    bit = rounding(masked, want, feeds)
    if off <= NOISE * bit:
        return Outcome.EXACT, f"the last bit of the weights alone moves the outputs by {bit:.1e}", off
    return Outcome.WRONG, f"off by {off:.1e}, where the last bit of the weights moves the outputs by {bit:.1e}", off


def plainly(model: ModelProto, feeds: Feeds) -> Mapping[str, Array]:
    """The outputs in ONNX Runtime, its optimiser off."""
    return Session(model, optimisation=Optimisation.NONE).run(feeds)


def precise(model: ModelProto, feeds: Feeds) -> Mapping[str, Array]:
    """The outputs with integer kernels that are exact on every processor."""
    return Session(model, optimisation=Optimisation.PRECISE).run(feeds)


def rounding(model: ModelProto, want: Feeds, feeds: Feeds) -> float:
    """How far the outputs move (of their largest value) where every weight is off by one unit of its roundoff."""
    from onnx import numpy_helper

    copy = ModelProto()
    copy.CopyFrom(model)
    rng = np.random.default_rng(0)
    for tensor in all_tensors(copy.graph):
        array = numpy_helper.to_array(tensor)
        if is_float(array.dtype) and array.dtype.kind == "f" and array.size > 1:
            unit = np.finfo(array.dtype).eps / 2
            signs = rng.choice((-1.0, 1.0), array.shape)
            moved = (array.astype(np.float64) * (1 + 1.01 * unit * signs)).astype(array.dtype)
            tensor.CopyFrom(numpy_helper.from_array(moved, tensor.name))
    return max(d.max_rel for d in compare(list(want), want, Session(copy, optimisation=Optimisation.NONE).run(feeds)))


def what_holds(analysis: Analysis, most: int = 3) -> tuple[tuple[float, str], ...]:
    """The reasons that keep axes of weights, with the share of the parameters in such weights, largest first."""
    sizes = {slot.tensor: int(np.prod([a.size for a in slot.axes])) for slot in analysis.slots}
    total = max(sum(sizes.values()), 1)
    found: Counter[str] = Counter()
    whole = {(s.tensor, k) for s in analysis.slots for k, a in enumerate(s.axes) if analysis.space.is_kept(a)}
    for tensor, reason in {(k.tensor, _plain(k.op, k.why)) for k in analysis.kept if (k.tensor, k.axis) in whole}:
        found[reason] += sizes[tensor]
    return tuple((count / total, reason) for reason, count in found.most_common(most))


def _plain(op: str, why: str) -> str:
    """A reason without the names of one graph's tensors."""
    text = re.sub(r"'[^']*[/_0-9][^']*'", "'…'", why)
    return f"{op}: {text}" if op else text


def given_shape(text: str) -> tuple[str, str, tuple[int, ...]]:
    """[PATTERN:]NAME=1x3x48x320, as --shape takes it; `NAME=` for a scalar."""
    name, _, sizes = text.rpartition("=")
    pattern, _, own = name.rpartition(":")
    return pattern or "*", own, tuple(int(s) for s in sizes.split("x") if s)


def given_value(text: str) -> tuple[str, str, float]:
    """[PATTERN:]NAME=16000, as --value takes it."""
    name, _, value = text.rpartition("=")
    pattern, _, own = name.rpartition(":")
    return pattern or "*", own, float(value)


def tell(verdict: Verdict) -> Verdict:
    """Print a verdict as it comes."""
    print(verdict.row(), flush=True)
    return verdict


def summary(verdicts: Sequence[Verdict]) -> int:
    """Print how many came out how; 1 where something is wrong or nothing was checked, else 0."""
    counts = Counter(v.outcome for v in verdicts)
    print("\n" + ", ".join(f"{o.value}: {counts[o]}" for o in Outcome if counts[o]))
    for v in verdicts:
        if v.failed:
            print(f"{v.outcome.value}: {v.name}: {v.why}", file=sys.stderr)
    return 1 if any(v.failed for v in verdicts) or not verdicts else 0


def name_of(path: Path) -> str:
    """A file's name without its ending."""
    return path.name.removesuffix(".onnx")
