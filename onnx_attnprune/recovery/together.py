"""The fit of a couple of layers, of which the second reads what the first one makes.

The second layer makes the best of the channels that are left; these can be better ones. Where each channel stays by
itself between the two (see `between`), what the second one's target lacks, T, says what the first one's result lacks: D
is T times the transposed weight of the second layer, brought back to where it was read, and through what lies between.
The change of the first one's weight is a step of Gauss and Newton, with its matrix taken apart into one of the inputs
and one of the outputs:

    (C + ridge d I)^-1 cov(X, D) B^-1        X, C: its inputs and their covariance; d: the mean of the diagonal of C

B is the product of the second layer's weight with its transpose, over all outputs and taps, times how much the ways of
two channels through what lies between have in common: random signs, the same for all channels, are brought back too,
and the mean product of what arrives at two channels is the sum of the products of their slopes. The step is as long as
does best on samples that it has not seen; then the second layer is fitted again by least squares. Sources: of taking
the matrix apart, Martens and Grosse, "Optimizing neural networks with Kronecker-factored approximate curvature" (2015);
of the signs, Hutchinson, "A stochastic estimator of the trace of the influence matrix" (1989).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import reduce

import numpy as np

from onnx_attnprune.axes import BoolArray
from onnx_attnprune.graph import ModelProto
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.recovery.between import Back
from onnx_attnprune.recovery.few import Few, rows_held
from onnx_attnprune.recovery.forms import Array
from onnx_attnprune.recovery.lacking import Lacking
from onnx_attnprune.recovery.least_squares import is_unseen, rows_wanted
from onnx_attnprune.recovery.mending import Mender, Pair
from onnx_attnprune.recovery.producers import Couple
from onnx_attnprune.recovery.rectified import Rows, Seen, allowed, bounded, together
from onnx_attnprune.recovery.rows import results_at, results_in, rows_at, some
from onnx_attnprune.recovery.segments import Held, Segments
from onnx_attnprune.recovery.solving import LEAST, Problem, shift_with, shrinkage, solve
from onnx_attnprune.recovery.told import Summed, summing
from onnx_attnprune.recovery.windows import spread_back

ROUNDS = 3
RIDGE_OUT = 1e-2  # of the mean of B's diagonal
LENGTHS = (0.5, 1.0)  # of the step, that are tried; the error in between and beyond is taken for a parabola
SHORTEST, LONGEST = 0.05, 2.0
LEAST_GAIN = 1e-3  # of the error, below which no further step is tried


class Together:
    """The fit of one couple in a pruned model, which is edited in place.

    after: the pruned model, which holds what it needs to go on from just before the first layer. wanted: what the
    unpruned network has at the target, run by run. room: bytes that moments may take; where they would take more, or
    rows are fewer than columns, the rows themselves are held.
    """

    def __init__(
        self, analysis: Analysis, alive: Mapping[int, BoolArray], pruned: ModelProto, couple: Couple,
        after: Segments, wanted: Sequence[Rows], room: int,
    ) -> None:  # fmt: skip  # two lines
        self._mended = analysis, alive, pruned
        self._rng, self._signing = np.random.default_rng(0), np.random.default_rng(1)
        self._couple, self._after, self._wanted, self._room = couple, after, wanted, room
        self._x, self._read = couple.first.view.data, couple.second.view.data
        self._views = [
            replace(job.view, channels=int(np.count_nonzero(~job.consumer.removed)))
            for job in (couple.first, couple.second)
        ]
        self._kept, scale = couple.second.consumer.outputs, couple.target.scale
        self._scale = np.ones(np.count_nonzero(self._kept)) if scale is None else scale[self._kept]
        self._runs = tuple([k for k in range(len(wanted)) if is_unseen(k) == unseen] for unseen in (False, True))

    def fit(self, ridge: float) -> bool:
        """Refit both in turns; True where the error on unseen samples fell."""
        start = error = self._error()
        for _ in range(ROUNDS):
            if self._step(ridge, error) > (1 - LEAST_GAIN) * error:
                break
            self._refit(ridge)
            error = self._error()
        return error < start

    def _mender(self) -> Mender:
        """A new one for each change: it knows the model as it stands."""
        return Mender(*self._mended)

    def _lack(self, run: int, held: Held) -> Rows:
        """What the target lacks, of its shape; nothing where all that reads it makes the same of what is there."""
        target = self._couple.target
        wanted = np.compress(self._kept, self._wanted[run], axis=1 if self._views[1].kernel else -1)
        least, most = allowed(wanted, wanted - held[self._couple.aim], target.low, target.high)
        return np.asarray(np.clip(0.0, least, most), np.float32)

    def _error(self) -> float:
        """The mean squared lack on unseen samples."""
        held = self._after.look([self._couple.aim], self._runs[True])
        return float(np.mean([np.square(self._lack(k, one)).mean() for k, one in held]))

    def _step(self, ridge: float, error: float) -> float:
        """Change the first layer; gives back the error that is left of `error`."""
        change, shift = self._direction(ridge)
        done = 0.0

        def at(length: float) -> float:
            nonlocal done
            self._mender().move(self._couple.first, (length - done) * change, (length - done) * shift)
            done = length
            return self._error()

        tried = {0.0: error} | {length: at(length) for length in LENGTHS}
        lowest = vertex([(length, tried[length]) for length in tried])
        if lowest is not None:
            length = float(np.clip(lowest, SHORTEST, LONGEST))
            tried[length] = at(length)
        best = min(tried, key=lambda length: tried[length])
        if best != done:
            at(best)
        return tried[best]

    def _direction(self, ridge: float) -> tuple[Array, Array]:
        """The whole step: of the first layer's weight [columns, outputs], and of its bias [outputs]."""
        view, other = self._views
        weight = (self._mender().matrix(self._couple.second)[0] * self._scale).astype(np.float32)
        channels = other.channels
        ways, rows, runs = np.zeros((channels, channels)), 0, len(self._runs[False])
        wanted, sums = rows_wanted(view.columns, runs), None
        way = self._way()
        for k, held in self._after.look(self._couple.names, self._runs[False]):
            x, made, read = (held[name] for name in (self._x, self._couple.made, self._read))
            back = way(held)
            lack = back(spread_back(other, self._lack(k, held), weight, read.shape))
            if sums is None:
                sums, wanted = self._begin(results_in(view, made.shape), wanted, runs)
            there = some(results_in(view, made.shape), wanted, self._rng)
            sums.add(np.concatenate([next(rows_at(view, x, there)), results_at(view, lack, there)], axis=1))
            found = results_at(view, back(self._signs(read.shape)), there)
            ways += found.T @ found
            rows += len(found)
        assert sums is not None  # there are runs, else it is no couple to fit
        problem = sums.problem(view.columns)
        by_channel = weight.astype(np.float64).reshape(channels, -1)
        inverse = np.linalg.inv(_ridged(by_channel @ by_channel.T * ways / max(rows, 1)))
        change = solve(problem, max(ridge, shrinkage(problem)))
        return change @ inverse, shift_with(problem, change, centred=True) @ inverse

    def _begin(self, there: int, wanted: int, runs: int) -> tuple[Summed, int]:
        """What gathers the first layer's rows, of which a run has so many there, and how many to take of each run."""
        columns, channels = self._views[0].columns, self._views[1].channels
        held = rows_held(min(there, wanted) * runs, columns, columns + channels, 1, self._room)
        return summing(held, columns, channels), wanted if held is None else min(wanted, -(-held // runs))

    def _way(self) -> Callable[[Held], Back]:
        """From the second layer's data back to the first one's result, in a run."""
        links = [link.opened(self._mended[2], self._mender()) for link in self._couple.way]

        def back(held: Held) -> Back:
            steps = [link(held) for link in links]
            return lambda said: reduce(lambda there, step: step(there), steps, said)

        return back

    def _signs(self, shape: Sequence[int]) -> Rows:
        """For each place of the second layer's data a random sign, the same for all channels."""
        axis = 1 if self._views[1].kernel else len(shape) - 1
        signs = self._signing.choice(
            np.array([-1, 1], np.float32), [1 if k == axis else n for k, n in enumerate(shape)]
        )
        return np.broadcast_to(signs, shape)

    def _refit(self, ridge: float) -> None:
        """Fit the second layer to what it reads now."""
        view, target, aim = self._views[1], self._couple.target, self._couple.aim
        parts: tuple[list[Seen], list[Seen]] = ([], [])
        wanted = rows_wanted(view.columns, len(self._wanted))
        for k, held in self._after.look([self._read, aim], range(len(self._wanted))):
            there = some(results_in(view, held[aim].shape), wanted, self._rng)
            x, whole = next(rows_at(view, held[self._read], there)), results_at(view, self._wanted[k], there)
            kept = whole[:, self._kept]
            parts[is_unseen(k)].append(Seen(x, kept - results_at(view, held[aim], there), kept))
        mine, others = (together(part) for part in parts)
        if target.bounded:
            moments = _moments(mine), _moments(others)
            least = max(ridge, shrinkage(moments[0]))
            seen, checked = bounded(moments, (mine, others), (target.low, target.high), least)
            pair: Pair = seen, checked or moments[1]
        else:
            width = mine.x.shape[1] + mine.lack.shape[1]
            few = rows_held(len(mine.x) + len(others.x), view.columns, width, 1, self._room)
            pair = _posed(few, mine), _posed(few, others)
        self._mender().amend(self._couple.second, pair, ridge, self._scale)


def vertex(points: Sequence[tuple[float, float]]) -> float | None:
    """Where the parabola through three points is lowest; None where it opens downwards."""
    curve, slope, _ = np.polyfit([at for at, _ in points], [error for _, error in points], deg=2)
    return float(-slope / (2 * curve)) if curve > 0 else None


def _ridged(matrix: Array) -> Array:
    """A symmetric matrix with a ridge that makes it safe to invert."""
    ridge = RIDGE_OUT * max(float(np.trace(matrix)) / len(matrix), LEAST)
    return np.asarray(matrix + ridge * np.eye(len(matrix)))


def _moments(rows: Seen) -> Problem:
    sums = Lacking(rows.x.shape[1], rows.lack.shape[1])
    sums.add(np.concatenate([rows.x, rows.lack], axis=1))
    return sums.problem(rows.x.shape[1])


def _posed(held: int | None, rows: Seen) -> Problem | Few:
    sums = summing(held, rows.x.shape[1], rows.lack.shape[1])
    sums.add(np.concatenate([rows.x, rows.lack], axis=1))
    return sums.problem(rows.x.shape[1])
