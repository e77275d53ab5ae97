"""What a report asks its reader to do something about."""

from __future__ import annotations

from collections.abc import Iterator

from onnx_attnprune.evaluate.classification import Classification
from onnx_attnprune.report.latencies import latencies
from onnx_attnprune.report.model import Holding, Report
from onnx_attnprune.scoring import SAMPLED

SLOWER = 0.97  # a speed-up below this is no noise of a quiet machine
COLLAPSED = 0.05  # points of top-1, as a share; of another figure, that share of it
FAR = 0.9  # cosine of outputs below which they say something else
MADE_UP, FITTED = "procedural", "least squares"  # in what a repair calls itself
FIND = "let --max-drop 0.01 find how much can go, or train the result further"
FEW = (
    32  # samples for a repair: with 16, models/fashion_resnet.onnx at a ratio of 0.3 keeps less than with made-up ones
)
NOISY = 0.5  # spread of the latency, as a share of the median


def advice(report: Report) -> tuple[str, ...]:
    """One line for each thing that is likely not what the user wants, with what to do."""
    found = _few, _grown, _speed, _elsewhere, _accuracy, _drift, _holding
    return tuple(line for one in found for line in one(report))


def _few(report: Report) -> Iterator[str]:
    """Of the user's own samples."""
    repair = report.repair
    if repair is None or not 0 < repair.samples < FEW or MADE_UP in repair.method:
        return
    count = "one sample" if repair.samples == 1 else f"{repair.samples} samples"
    yield f"the repair saw only {count}, which may be worse than made-up ones: give some 256"


def _grown(report: Report) -> Iterator[str]:
    """Surgery copies a shared weight for each way that it is cut, which may take more than the cut saves."""
    if report.parameters.after > report.parameters.before:
        yield (
            f"the pruned model has {report.parameters.after - report.parameters.before:,} parameters more than the "
            "original, as where a weight that several nodes share is stored once for each way that it is cut: leave "
            "groups of such weights whole with --exclude"
        )


def _speed(report: Report) -> Iterator[str]:
    speed = report.speed
    if speed is None:
        return
    noisy = max(speed.before.spread, speed.after.spread) > NOISY
    if speed.speedup < SLOWER:
        how = "measure again on a quiet machine (--latency-seconds 10)" if noisy else _faster(report)
        yield f"the pruned model is {1 / speed.speedup:.2f}x slower than the original: {how}"
    elif noisy:
        yield "the latencies varied by more than half: measure on a quiet machine, or longer (--latency-seconds 10)"


def _elsewhere(report: Report) -> Iterator[str]:
    """What --bench found on providers other than the one that counts were rounded for."""
    here = None if report.speed is None else report.speed.provider
    for found in latencies(report):
        if found.reason:
            yield f"not measured on {found.provider}: {found.reason}"
        elif found.provider != here and found.speedup is not None and found.speedup < SLOWER:
            yield (
                f"the pruned model is {1 / found.speedup:.2f}x slower than the original on {found.provider}: prune "
                f"for it with --provider {found.provider}"
            )


def _faster(report: Report) -> str:
    if report.settings.get("round_to") == 1:
        return "counts that are no multiples of 8 or 16 can be slow, leave out --round-to 1"
    return "raise --ratio, or --round-to 16 or 32"


def _accuracy(report: Report) -> Iterator[str]:
    accuracy = report.accuracy
    if accuracy is None or report.holding is not None:
        return
    before, after = accuracy.before, accuracy.after
    lost = before.main - after.main
    if isinstance(before, Classification) and lost > COLLAPSED:
        yield f"top-1 fell by {lost * 100:.1f} points: {_gentler(report)}"
    elif not isinstance(before, Classification) and not lost <= COLLAPSED * abs(before.main):
        yield f"{before.measure} fell from {before.main:.4g} to {after.main:.4g}: {_gentler(report)}"


def _drift(report: Report) -> Iterator[str]:
    if report.drift is None or report.accuracy is not None or report.holding is not None:
        return
    worst = min((d.cosine for d in report.drift.outputs), default=1.0)
    if worst < FAR:
        yield (
            f"the outputs moved far from the unpruned model's (cosine {worst:.2f}): measure the accuracy with --eval, "
            f"and {_gentler(report)}"
        )


def _holding(report: Report) -> Iterator[str]:
    found = report.holding
    if found is None:
        return
    asked = f"{found.option} {found.asked:g}"
    lacks = f"{asked} goes too far for this network: {found.measure} {found.value:.3f} on {found.on}"
    yield f"{lacks} (of use from {found.enough:.2f} on); {would_hold(found)}, {_repair(report)}{FIND}"


def would_hold(found: Holding) -> str:
    """What is known of an amount that would hold, in words."""
    if found.holds is not None:
        trial = next(t for t in found.trials if t.amount == found.holds)
        others = "" if trial.least is None else f", and in nine cases of ten at least {trial.least:.3f} on others"
        return f"{found.option} {found.holds:g} would hold ({trial.value:.3f} there{others})"
    least = f"{found.option} {found.trials[-1].amount:g}" if found.trials else ""
    if found.foretold is not None:
        told = f"{found.option} {found.foretold:g} may hold, which is foretold and was not tried: {found.why}"
        return f"{least} does not hold either, {told}" if len(found.trials) > 1 else told
    return f"{least or 'less'} does not hold either, and nothing less can be cut"


def _gentler(report: Report) -> str:
    repair = _repair(report)
    if report.settings.get("max_drop") is not None:
        return f"lower --max-drop, {repair}or train the result further"
    asked = ("threshold", "top_k", "target_macs", "target_params", "target_bytes", "target_latency")
    given = next((name for name in asked if report.settings.get(name) is not None), "ratio")
    change = "raise" if given.startswith("target") else "lower"
    change = f"{change} --{given.replace('_', '-')}"
    return f"{change}, {repair}{FIND}"


def _repair(report: Report) -> str:
    """What would make more of the repair, ending in a comma and a space."""
    method = "" if report.repair is None else report.repair.method
    if method == "none" and report.settings.get("recover") == "none":
        return "repair it with --recover, "
    if MADE_UP in method:
        return "give some 256 samples of your own with --calibrate, which choose channels and repair far better, "
    if method.startswith(FITTED) and report.settings.get("criterion") not in (None, *SAMPLED):
        return "leave the choice to --criterion obs, which measures best before a repair on samples, "
    return ""
