"""The oracle on every run: the pruned model computes what the original computes with the removed channels silenced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.errors import FeedError, ModelError, SelfCheckError
from onnx_attnprune.evaluate.equivalence import TOLERANCE, Difference, compare, within
from onnx_attnprune.evaluate.feeds import is_float
from onnx_attnprune.evaluate.staging import loadable
from onnx_attnprune.graph import (
    as_float32,
    interface_change,
    is_quantised,
    logits_of,
    selected_by,
    selections,
    structural_fault,
    with_even_scales,
    with_outputs,
)
from onnx_attnprune.runtime import Optimisation, Session

if TYPE_CHECKING:
    import onnx

Feeds = Mapping[str, NDArray[Any]]
NOTHING = "nothing was written"
NOISES, MOST = 4, 10


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """What was compared, and how close it came.

    differences: one per output, each at most `tolerance` (relative to the largest value of the masked original).
    inputs: what the models were fed. in_float32: float32 copies were run, because ONNX Runtime lacks bfloat16 kernels.
    moved: where what goes into selections (TopK, NonMaxSuppression) was compared, the share of their places that
    rounding gave to other candidates.
    """

    differences: tuple[Difference, ...]
    tolerance: float
    inputs: str
    in_float32: bool = False
    moved: float = 0.0

    @property
    def largest(self) -> float:
        """The largest relative difference over the outputs."""
        return max((d.max_rel for d in self.differences), default=0.0)


def check_structure(original: onnx.ModelProto, pruned: onnx.ModelProto) -> None:
    """Same interface, and onnx.checker (full check) has no new complaint. Raises SelfCheckError."""
    change = interface_change(original, pruned)
    if change:
        raise SelfCheckError(f"self-check: {change}; {NOTHING} (please report this)")
    fault = structural_fault(pruned)
    if fault and not structural_fault(original):
        raise SelfCheckError(f"self-check: onnx.checker rejects the pruned model: {fault}; {NOTHING}")


def check_equivalence(
    masked: Callable[[], onnx.ModelProto],
    pruned: onnx.ModelProto,
    feeds: Feeds,
    weights: str,
    inputs: str,
    folder: Path,
) -> SelfCheck:
    """Run both with the optimiser off and compare every output.

    `masked` makes the masked original when it is its turn, so that it need not be held all along. `weights`: name of
    the coarsest float type among the weights, whose tolerance holds for all outputs. `folder`: for models that are too
    large to be loaded from memory. Raises SelfCheckError where an output differs, ModelError where ONNX Runtime can't
    load the original, FeedError where it can't run it.
    """
    in_float32 = False
    try:
        reference = _outputs(masked, feeds, folder)
    except FeedError:
        raise
    except ModelError:
        if weights != "bfloat16":
            raise
        in_float32, weights, inputs = True, "float32", f"{inputs}, as float32 (no bfloat16 kernels here)"
        feeds = {name: in_float32_too(array) for name, array in feeds.items()}
        reference, pruned = _outputs(lambda: as_float32(masked()), feeds, folder), as_float32(pruned)
    try:
        got = _outputs(lambda: pruned, feeds, folder)
    except ModelError as error:
        raise SelfCheckError(f"self-check: the pruned model does not run: {error}; {NOTHING}") from None
    check = SelfCheck(compare(list(reference), reference, got), TOLERANCE[weights], inputs, in_float32)
    if within(check.differences, check.tolerance):
        return check
    return _with_excuses(as_float32(masked()) if in_float32 else masked(), pruned, reference, feeds, check, folder)


def _with_excuses(
    original: onnx.ModelProto, pruned: onnx.ModelProto, reference: Feeds, feeds: Feeds, check: SelfCheck, folder: Path
) -> SelfCheck:
    """The comparison with all that rounding can do to models that are equal on paper. Raises SelfCheckError."""
    if is_quantised(original):
        return _passed(_on_even_scales(original, pruned, feeds, check, folder), reference)
    noisy = _beside_own_noise(original, reference, feeds, check, folder)
    # Where every logit is far below zero a sigmoid gives out vanishing numbers, that follow the logits' own rounding
    # as exp does: nothing is left of the outputs' scale to compare by.
    if not within(noisy.differences, noisy.tolerance) and (logits := logits_of(original, pruned)):
        told = f"{check.inputs}, compared before the sigmoids that end in outputs"
        names = [logits.get(d.output, d.output) for d in check.differences]
        noisy = _at(names, original, pruned, feeds, replace(check, inputs=told))
    if not within(noisy.differences, noisy.tolerance) and (chosen_by := selected_by(original, pruned)):
        # Which of two equal scores comes first is decided by rounding; behind that whole rows change places.
        told = f"{check.inputs}, compared at what TopK and NonMaxSuppression select by (scores tie there)"
        noisy = _at(chosen_by, original, pruned, feeds, replace(check, inputs=told))
        noisy = replace(noisy, moved=_moved(selections(original, chosen_by), original, pruned, feeds))
    return _passed(noisy, reference)


def _moved(indices: Mapping[str, str], original: onnx.ModelProto, pruned: onnx.ModelProto, feeds: Feeds) -> float:
    """The share of selected places (name of the indices to operator) that the models give to different candidates."""
    names = list(indices)
    one, other = (
        Session(with_outputs(model, names), optimisation=Optimisation.NONE).run(feeds, names)
        for model in (original, pruned)
    )
    places = same = 0
    for name, op in indices.items():
        ours, theirs = _taken(op, one[name]), _taken(op, other[name])
        same += len(ours & theirs)
        places += max(len(ours), len(theirs))
    return 1 - same / max(places, 1)


def _taken(op: str, indices: NDArray[Any]) -> set[tuple[int, ...]]:
    """What was selected: of TopK with its rank; boxes without, since one that is suppressed moves all behind it up."""
    if op == "NonMaxSuppression":
        return {tuple(map(int, row)) for row in indices}
    return {(*place, int(index)) for place, index in np.ndenumerate(indices)}


def _at(
    names: list[str], original: onnx.ModelProto, pruned: onnx.ModelProto, feeds: Feeds, check: SelfCheck
) -> SelfCheck:
    """The comparison at other tensors than the outputs, by the same tolerance or the noise that they have there."""

    def run(model: onnx.ModelProto, optimisation: Optimisation) -> Feeds:
        return Session(with_outputs(model, names), optimisation=optimisation).run(feeds, names)

    reference = run(original, Optimisation.NONE)
    check = replace(check, differences=compare(names, reference, run(pruned, Optimisation.NONE)))
    if within(check.differences, check.tolerance):
        return check
    return _with_room(check, compare(names, reference, run(original, Optimisation.ALL)))


def _on_even_scales(
    original: onnx.ModelProto, pruned: onnx.ModelProto, feeds: Feeds, check: SelfCheck, folder: Path
) -> SelfCheck:
    """The comparison of copies in which rounding can't tip a quantised value over to the next step; where that does not
    do, by kernels that are exact on every processor (see `Optimisation.PRECISE`)."""
    told = f"{check.inputs}, quantisation scales rounded to powers of two"
    for how, more in ((Optimisation.NONE, ""), (Optimisation.PRECISE, ", 8-bit kernels that don't saturate")):
        reference = _outputs(lambda: with_even_scales(original), feeds, folder, how)
        got = _outputs(lambda: with_even_scales(pruned), feeds, folder, how)
        check = replace(check, differences=compare(list(reference), reference, got), inputs=told + more)
        if within(check.differences, check.tolerance):
            break
    return check


def _beside_own_noise(
    original: onnx.ModelProto, reference: Feeds, feeds: Feeds, check: SelfCheck, folder: Path
) -> SelfCheck:
    """The same comparison, with the rounding noise of the masked original itself as the measure.

    A network that ends in a saturated sigmoid, say, multiplies rounding: then its own outputs differ by more than the
    tolerance between kernels that are equal on paper. What it differs by with the optimiser on and off is noise; the
    pruned model may differ by `NOISES` times that, and never by more than `MOST` times the tolerance.
    """
    with loadable(original, folder) as source:
        other = Session(source, optimisation=Optimisation.ALL).run(feeds)
    return _with_room(check, compare(list(reference), reference, other))


def _with_room(check: SelfCheck, own: tuple[Difference, ...]) -> SelfCheck:
    """The check with a tolerance for the noise that the masked original has of its `own`."""
    noise = max(d.max_rel for d in own)
    limit = min(NOISES * noise, MOST * check.tolerance)
    if limit <= check.tolerance:
        return check
    return replace(check, tolerance=limit, inputs=f"{check.inputs}; its own kernels differ by {noise:.1e} on them")


def _passed(check: SelfCheck, reference: Feeds) -> SelfCheck:
    if within(check.differences, check.tolerance):
        return check
    worst = max(check.differences, key=lambda d: d.max_rel)
    values = reference.get(worst.output)
    if values is not None and is_float(values.dtype) and not np.isfinite(values.astype(np.float64)).all():
        raise SelfCheckError(
            f"self-check: the model itself gives infinity or nan as {worst.output!r} on {check.inputs}, and nothing "
            f"can be compared with that; give samples that it takes (--calibrate or --eval); {NOTHING}"
        )
    raise SelfCheckError(
        f"self-check: output {worst.output!r} is off the masked original by {worst.max_rel:.2g} of its largest "
        f"value (at most {check.tolerance:.2g} is rounding); {NOTHING} (please report this)"
    )


def in_float32_too(array: NDArray[Any]) -> NDArray[Any]:
    """A bfloat16 array as float32, any other as it is."""
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def _outputs(
    make: Callable[[], onnx.ModelProto], feeds: Feeds, folder: Path, optimisation: Optimisation = Optimisation.NONE
) -> Feeds:
    with loadable(make(), folder) as source:  # which holds bytes, and not the model that was made
        session = Session(source, optimisation=optimisation)
        try:
            return session.run(feeds)
        except ModelError as error:
            raise FeedError(str(error)) from None
