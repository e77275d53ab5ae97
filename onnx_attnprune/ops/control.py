"""Control flow: bodies are analysed in place, and what goes in and out of them is tied."""

from __future__ import annotations

from collections.abc import Sequence

from onnx_attnprune.axes import Axis
from onnx_attnprune.errors import AxisError
from onnx_attnprune.ops.registry import Effect, Tensor, View, entry, rule

INT64, BOOL = 7, 9


@rule("If")
def branch(n: View) -> Effect:
    """each result is the same tensor of both branches"""
    results = []
    for outputs in zip(*([v.name for v in body.output] for body in n.node.subgraphs), strict=True):
        one, other = (n.found(name) for name in outputs)
        results.append(_same(n, one, other))
    return Effect(tuple(results))


def _same(n: View, one: Tensor | None, other: Tensor | None) -> Tensor:
    a, b = (None if t is None else t.axes for t in (one, other))
    if one is None or other is None or a is None or b is None or len(a) != len(b):
        # Of what rank the result is only the run can tell: what reads it is refused, not the branches.
        for known in (a, b):
            n.keep(known or (), "of another rank in the other branch, or of none that is known")
        return Tensor(None, next((t.dtype for t in (one, other) if t is not None and t.dtype), 0))
    axes: list[Axis] = []
    for x, y in zip(a, b, strict=True):
        if x.size == y.size:
            n.tie(x, y)
            axes.append(x)
        else:  # which of the two it is only the run can tell
            n.keep((x, y), "of another size in the other branch")
            axes.append(n.space.var(max(x.size, y.size), n.reason("of one size or another"), dynamic=True))
    return Tensor(tuple(axes), one.dtype, None, one.silent and other.silent)


def _carried(n: View, place: int) -> Tensor:
    """A state as a body sees it: channels are those of its start, other sizes may change from turn to turn."""
    start = n.tensor(place)
    axes = tuple(
        n.space.var(a.size, n.reason("carried from turn to turn"), dynamic=True) if n.space.is_kept(a) else a
        for a in n.axes(place)
    )
    return Tensor(axes, start.dtype)


def _handed_on(n: View, place: int, name: str) -> Tensor:
    """A state after the last turn: the channels that it started with, in every turn."""
    start, end = n.axes(place), n.named(name)
    if len(start) != len(end.axes or ()):
        raise AxisError(f"the state {name!r} changes its rank")
    axes: list[Axis] = []
    for a, b in zip(start, end.axes or (), strict=True):
        if n.space.is_kept(a) or n.space.is_kept(b):
            n.keep((a, b), "carried from turn to turn")
            late = n.space.is_dynamic(b) or a.size != b.size
            axes.append(n.space.var(b.size, n.reason("carried from turn to turn"), dynamic=late))
        else:
            n.tie(a, b)
            axes.append(a)
    return Tensor(tuple(axes), end.dtype, None, n.tensor(place).silent and end.silent)


def _stacked(n: View, name: str, at: int, turns: Axis) -> Tensor:
    """What all turns hand out, on a new axis."""
    one = n.named(name)
    axes = list(one.axes or ())
    axes.insert(at % (len(axes) + 1), turns)
    return Tensor(tuple(axes), one.dtype, None, one.silent)


@entry("Loop")
def loop_inputs(n: View) -> Sequence[Tensor]:
    """turn, condition, states"""
    return [Tensor((), INT64), Tensor((), BOOL), *(_carried(n, k) for k in range(2, len(n.node.inputs)))]


@rule("Loop")
def loop(n: View) -> Effect:
    """states keep their channels from turn to turn; the other results are stacked"""
    states = len(n.node.inputs) - 2
    names = [v.name for v in n.node.subgraphs[0].output][1:]
    carried = [_handed_on(n, 2 + k, name) for k, name in enumerate(names[:states])]
    turns = n.space.var(97, n.reason("one entry a turn"), dynamic=True)
    return Effect((*carried, *(_stacked(n, name, 0, turns) for name in names[states:])))


@entry("Scan")
def scan_inputs(n: View) -> Sequence[Tensor]:
    """states, then one slice of each sequence"""
    states = len(n.node.inputs) - n.integer("num_scan_inputs")
    given = n.attr("scan_input_axes") or (0,) * n.integer("num_scan_inputs")
    slices = []
    for place, at in zip(range(states, len(n.node.inputs)), given, strict=True):
        axes = list(n.axes(place))
        n.keep(axes.pop(at), "scanned over")
        slices.append(Tensor(tuple(axes), n.tensor(place).dtype, None, n.tensor(place).silent))
    return [*(_carried(n, k) for k in range(states)), *slices]


@rule("Scan")
def scan(n: View) -> Effect:
    """states keep their channels from turn to turn; the other results are stacked"""
    states = len(n.node.inputs) - n.integer("num_scan_inputs")
    names = [v.name for v in n.node.subgraphs[0].output]
    given = n.attr("scan_output_axes") or (0,) * (len(names) - states)
    carried = [_handed_on(n, k, name) for k, name in enumerate(names[:states])]
    turns = n.axes(states)[(n.attr("scan_input_axes") or (0,))[0]]  # kept, and as long as every other sequence
    return Effect((*carried, *(_stacked(n, name, at, turns) for name, at in zip(names[states:], given, strict=True))))
