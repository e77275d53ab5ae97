"""The result as lines of text: each figure before and after pruning, and how it changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onnx_attnprune.evaluate.drift import Drift
from onnx_attnprune.evaluate.equivalence import Difference
from onnx_attnprune.evaluate.latency import Latency
from onnx_attnprune.report.figures import Figure, accuracy_figures
from onnx_attnprune.report.latencies import OnProvider, Timed, latencies
from onnx_attnprune.report.model import Change, PhoneChange, Repair, Report, Search, Timing, Trial

FEWEST_FOR_AGREEMENT = 16  # rows; of fewer a share says nothing
NOISY = 0.5
ROOM = 1e-9  # for rounding: 0.93 - 0.91 is more than 0.02


def results(report: Report) -> Iterator[Figure]:
    """All figures that a run has, sizes first."""
    yield counted("channels", report.channels)
    yield counted("parameters", report.parameters)
    yield counted(f"MACs{shape_text(list(report.shapes.values()))}", report.macs)
    if report.size is not None:
        yield counted("bytes", report.size)
    for found in latencies(report):
        yield _latency(found)
    if report.accuracy is not None:
        accuracy = report.accuracy
        yield from accuracy_figures(accuracy.before, accuracy.after, accuracy.unrepaired)


def counted(name: str, change: Change) -> Figure:
    """A count, with its change in per cent."""
    better = change.after < change.before if change.after != change.before else None
    return Figure(name, f"{change.before:,}", f"{change.after:,}", f"{(change.left - 1) * 100:+.1f} %", better)


def shape_text(shapes: Sequence[tuple[int, ...]]) -> str:
    """The shape of the only input in brackets; nothing where there are several, which the JSON report lists."""
    return f" ({'x'.join(map(str, shapes[0]))})" if len(shapes) == 1 else ""


def _latency(found: OnProvider) -> Figure:
    name = f"latency, {found.provider}"
    before, after = _timed(found.before), _timed(found.after)
    factor = found.speedup
    if factor is None:
        return Figure(name, before, after, "", None)
    change = f"{factor:.2f}x faster" if factor >= 1 else f"{1 / factor:.2f}x slower"
    return Figure(name, before, after, change, factor >= 1)


def _timed(found: Timed) -> str:
    return found.said if found.latency is None else milliseconds(found.latency)


def milliseconds(latency: Latency) -> str:
    """The median of a latency and its spread."""
    spread = "noisy" if latency.spread > NOISY else f"±{latency.spread:.0%}"
    return (
        f"{latency.median_ms:.3g} ms {spread}" if latency.median_ms < 100 else f"{latency.median_ms:,.0f} ms {spread}"
    )


# ---------------------------------------------------------------- verdicts
def keeps(trial: Trial, limit: float, vouched: float) -> bool:
    """Whether a trial's drop is at most the limit, on other samples too, as far as the samples can vouch for it."""
    others = trial.most is None or trial.most <= max(limit, vouched) + ROOM
    return trial.drop <= limit + ROOM and others


def verdict(search: Search, k: int) -> str:
    """What a search made of its trial number k: taken, too much, not sure, or nothing."""
    trial = search.trials[k]
    if k == search.chosen:
        return "taken"
    if trial.drop > search.limit + ROOM:
        return "too much"
    return "" if keeps(trial, search.limit, search.vouched) else "not sure"


def timed_verdict(timing: Timing, k: int) -> str:
    """What a search for latency made of its trial number k: taken, too slow, or nothing."""
    return "taken" if k == timing.chosen else "too slow" if timing.trials[k].latency > timing.limit else ""


# ---------------------------------------------------------------- sentences
def phone_text(phone: PhoneChange) -> str:
    """What NNAPI takes of both models, in a line."""
    one, two = (usable.partitions for usable in (phone.before, phone.after))
    text = f"NNAPI takes {two.supported} of {two.nodes} nodes in {_parts(len(two.sizes))}"
    if (one.supported, one.nodes, len(one.sizes)) != (two.supported, two.nodes, len(two.sizes)):
        text += f" (of the original {one.supported} of {one.nodes} in {_parts(len(one.sizes))})"
    return f"{text}; {'; '.join(phone.changes) or 'pruning changed nothing that it minds'}"


def _parts(count: int) -> str:
    return f"{count} {'part' if count == 1 else 'parts'}"


def repair_text(repair: Repair) -> str:
    """What a repair did, in a line."""
    text = f"{repair.method}, {repair.compensated} of {repair.consumers} consumers of removed channels"
    if repair.waves:
        text += f", in {repair.waves} {'wave' if repair.waves == 1 else 'waves'}"
    if repair.peak is not None:
        text += f"; memory of the run {repair.peak / 1e9:.2f} GB at most"
    if repair.parts:
        text += f"; time: {parts_text(repair)}"
    if repair.notes:
        rest = len(repair.notes) - 1
        text += f"; {repair.notes[0]}" + (f" (and {rest} more such notes in --report)" if rest else "")
    return text


def parts_text(repair: Repair) -> str:
    """What took how long in a repair, the longest first."""
    return ", ".join(f"{part} {seconds:.2f} s" for part, seconds in sorted(repair.parts, key=lambda p: -p[1]))


def drift_text(drift: Drift) -> str:
    """How far the outputs moved, in a line: of several the one that moved furthest."""
    worst = min(drift.outputs, key=lambda d: d.cosine)
    which = worst.output if len(drift.outputs) == 1 else f"{len(drift.outputs)} outputs, furthest {worst.output}"
    return f"{which} against the unpruned model on {drift.inputs}: {_distance(worst, drift.samples)}"


def _distance(d: Difference, samples: int) -> str:
    if not ("float" in d.dtype or "complex" in d.dtype):
        return f"{d.max_rel:.1%} of the values differ"
    text = f"cosine {d.cosine:.4f}, {d.sqnr_db:.1f} dB"
    if d.top1_agreement is not None and samples >= FEWEST_FOR_AGREEMENT:
        text += f", same top-1 in {d.top1_agreement:.1%}"
    return text


def stage_seconds(report: Report) -> dict[str, float]:
    """Seconds by stage, those of one name together, in the order in which they began."""
    total: dict[str, float] = {}
    for stage in report.stages:
        total[stage.name] = total.get(stage.name, 0.0) + stage.seconds
    return total
