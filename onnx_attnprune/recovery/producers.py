"""Which layer makes what a consumer reads, where each channel stays by itself between the two."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnx_attnprune.axes import BoolArray
from onnx_attnprune.graph import Node
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.recovery.between import Average, Depthwise, Largest, Link, Singles, Windows
from onnx_attnprune.recovery.jobs import Job, mixing_jobs
from onnx_attnprune.recovery.rows import windows_of
from onnx_attnprune.recovery.sequential import ordered
from onnx_attnprune.recovery.targets import PLAIN, Flow, Target

# Of one number each, or of one number and a constant of its channel.
SINGLE = frozenset({
    "Abs", "Add", "BatchNormalization", "BiasGelu", "Celu", "Clip", "Div", "Dropout", "Elu", "Erf", "Exp", "FastGelu",
    "Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Mish", "Mul", "Neg", "PRelu", "Pow", "QuickGelu",
    "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Sqrt", "Sub", "Swish", "Tanh", "ThresholdedRelu",
})  # fmt: skip  # a list of names


@dataclass(frozen=True, slots=True)
class Couple:
    """A consumer of removed channels and the layer that makes them, with the consumer's target.

    first: the layer that makes the channels. second: the one that reads them. way: what lies between the two, from the
    second one's data back to the first one's result.
    """

    first: Job
    second: Job
    target: Target
    way: tuple[Link, ...]

    @property
    def made(self) -> str:
        """The first layer's result, before the functions between the two."""
        return self.first.consumer.node.outputs[0]

    @property
    def aim(self) -> str:
        """Where the error is looked at."""
        assert self.target.name is not None  # else it is no couple
        return self.target.name

    @property
    def ends(self) -> tuple[str, ...]:
        """What both layers read and make, and where the error is looked at."""
        return tuple(dict.fromkeys([self.first.view.data, self.made, self.second.view.data, self.aim]))

    @property
    def names(self) -> tuple[str, ...]:
        """All that is looked at."""
        return tuple(dict.fromkeys([*self.ends, *(name for link in self.way for name in link.names)]))


def couples_of(analysis: Analysis, alive: Mapping[int, BoolArray]) -> Iterator[Couple]:
    """The couples among consumers that lose channels, in the order of the graph; those only whose weights are theirs
    alone, without groups, and whose results can be looked at."""
    jobs = ordered(analysis, alive)
    flow = Flow(analysis, jobs)
    makers = {job.consumer.node.outputs[0]: job for job in mixing_jobs(analysis, alive)}
    for k, job in enumerate(jobs):
        target = flow.target(k, job)
        if target.name is None or not job.consumer.removed.any() or not _is_plain(job):
            continue
        made, way = way_back(analysis, flow, makers, job.view.data)
        first = makers.get(made)
        if first is not None and _is_plain(first) and len(_uses(analysis, first)) == 1 == len(_uses(analysis, job)):
            couple = Couple(first, job, target, way)
            if _meet(analysis, couple) and _all_into(flow, made, job):
                yield couple


def _is_plain(job: Job) -> bool:
    c = job.consumer
    spread = c.node.op == "ConvTranspose"
    return (c.node.domain, c.node.op) in PLAIN and job.view.groups == 1 and not (c.recurrent or c.whole or spread)


def _meet(analysis: Analysis, couple: Couple) -> bool:
    """True where the channels that the first layer makes are those that the second one sums over."""
    made, read = couple.first.consumer, couple.second.consumer
    places = []
    for consumer, name in ((made, couple.made), (read, couple.second.view.data)):
        rank = len(analysis.tensors[name].axes or ())
        places.append((rank, consumer.channel % max(rank, 1)))
    return places[0] == places[1] and np.array_equal(made.outputs, ~read.removed)


def _uses(analysis: Analysis, job: Job) -> Sequence[object]:
    return analysis.graph.readers.get(job.consumer.node.inputs[job.consumer.linear.weight], ())


def way_back(
    analysis: Analysis, flow: Flow, makers: Mapping[str, Job], name: str
) -> tuple[str, tuple[Link, ...]]:  # fmt: skip  # two lines
    """The result of the layer whose channels those of `name` are, each by itself, and the way back to it; an empty name
    where there is none. makers: the layers, by their results."""
    way: list[Link] = []
    while True:
        singles = _singles(analysis, flow, name)
        if singles is None:
            return "", ()
        if singles.source != name:
            way.append(singles)
        name = singles.source
        job = makers.get(name)
        if job is not None and job.view.groups == 1:
            return name, tuple(way)
        window = _window(analysis, makers, name)
        if window is None:
            return "", ()
        way.append(window)
        name = window.source


def _all_into(flow: Flow, made: str, job: Job) -> bool:
    """True where all that rests on what one layer has made goes into the data of another."""
    second = job.consumer.node
    seen, frontier = {made}, [made]
    while frontier:
        name = frontier.pop()
        for node in flow.readers.get(name, ()):
            if node.index > second.index or (node.index == second.index and name != job.view.data):
                return False
            if node.index < second.index:
                frontier.extend(o for o in node.outputs if o and o not in seen)
                seen.update(node.outputs)
    return not seen & flow.outputs


def _window(analysis: Analysis, makers: Mapping[str, Job], result: str) -> Windows | None:
    """The windows over single channels that make a tensor."""
    node = analysis.graph.makers.get(result)
    if node is None or node.domain or result != node.outputs[0]:
        return None
    source, job = node.inputs[0], makers.get(result)
    if node.op == "Conv" and job is not None:
        return Depthwise(source, result, job.view, job) if job.view.groups == job.view.channels else None
    if node.op not in ("MaxPool", "AveragePool"):
        return None
    view = windows_of(node, source, 0, tuple(node.attr("kernel_shape")), 1)
    if node.op == "MaxPool":
        return Largest(source, result, view)
    rounded_up = node.attr("ceil_mode", 0)  # its windows reach beyond the padding, of which no more counts
    return None if rounded_up else Average(source, result, view, bool(node.attr("count_include_pad", 0)))


def _singles(analysis: Analysis, flow: Flow, name: str) -> Singles | None:
    """The functions of single numbers that make a tensor out of one other; out of itself where there are none."""
    frontier, ends, fixed = [name], [], []
    seen: set[str] = set()
    while frontier:
        tensor = frontier.pop()
        if tensor in seen:
            continue
        seen.add(tensor)
        maker = analysis.graph.makers.get(tensor)
        operands = None if maker is None else _operands(analysis, flow, maker, tensor)
        if operands is None:
            ends.append(tensor)
        else:
            frontier.extend(operands[0])
            fixed.extend(operands[1])
    return Singles(ends[0], name, tuple(dict.fromkeys(fixed))) if len(ends) == 1 else None


def _operands(analysis: Analysis, flow: Flow, node: Node, result: str) -> tuple[list[str], list[str]] | None:
    """The operands of a function of single numbers that are no constants: those that hold a number for each of the
    result, and others; None for another node."""
    if node.op not in SINGLE or result != node.outputs[0]:
        return None
    found = [n for n in dict.fromkeys(node.inputs) if n and flow.constants.array(n) is None]
    sizes, size = [_size(analysis, n) for n in found], _size(analysis, result)
    if not size or not all(sizes):
        return None
    whole = [n for n, of in zip(found, sizes, strict=True) if of == size]
    return whole, [n for n in found if n not in whole]


def _size(analysis: Analysis, name: str) -> int:
    tensor = analysis.tensors.get(name)
    return 0 if tensor is None or tensor.axes is None else math.prod(axis.size for axis in tensor.axes)
