"""Which layer makes what a consumer reads, where there are only functions of single numbers between the two."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnx_attnprune.axes import BoolArray
from onnx_attnprune.graph import Node
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.recovery.jobs import Job, mixing_jobs
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

    first: the layer that makes the channels. second: the one that reads them. made: the first one's result.
    """

    first: Job
    second: Job
    target: Target

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
    def names(self) -> tuple[str, ...]:
        """All that is looked at."""
        return self.first.view.data, self.made, self.second.view.data, self.aim


def couples_of(
    analysis: Analysis, alive: Mapping[int, BoolArray], flow: Flow, jobs: Sequence[Job], targets: Sequence[Target]
) -> Iterator[Couple]:
    """The couples among consumers that lose channels, in the order of the graph; those only whose weights are theirs
    alone, without groups, and whose results can be looked at."""
    makers = {job.consumer.node.outputs[0]: job for job in mixing_jobs(analysis, alive)}
    for job, target in zip(jobs, targets, strict=True):
        if target.name is None or not job.consumer.removed.any() or not _is_plain(job):
            continue
        first = makers.get(source_of(analysis, flow, job.consumer.node, job.view.data))
        if first is not None and _is_plain(first) and len(_uses(analysis, first)) == 1 == len(_uses(analysis, job)):
            couple = Couple(first, job, target)
            if _meet(analysis, couple):
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


def source_of(analysis: Analysis, flow: Flow, reader: Node, name: str) -> str:
    """The tensor of whose numbers those of `name`, which `reader` reads, are functions, one by one, and that nothing
    else reads; empty where there is none."""
    inside, frontier, ends = {reader.index}, [name], set()
    seen: set[str] = set()
    while frontier:
        tensor = frontier.pop()
        if tensor in seen:
            continue
        seen.add(tensor)
        maker = analysis.graph.makers.get(tensor)
        operands = None if maker is None else _operands(analysis, flow, maker, tensor)
        if maker is None or operands is None:
            ends.add(tensor)
        else:
            inside.add(maker.index)
            frontier.extend(operands)
    mine = all(t not in flow.outputs and {n.index for n in flow.readers.get(t, ())} <= inside for t in seen)
    return ends.pop() if len(ends) == 1 and mine else ""


def _operands(analysis: Analysis, flow: Flow, node: Node, result: str) -> list[str] | None:
    """The operands of a function of single numbers that are no constants; None for another node."""
    if node.op not in SINGLE or result != node.outputs[0]:
        return None
    found = [n for n in dict.fromkeys(node.inputs) if n and flow.constants.array(n) is None]
    size = _size(analysis, result)
    return found if found and size and all(_size(analysis, n) == size for n in found) else None


def _size(analysis: Analysis, name: str) -> int:
    tensor = analysis.tensors.get(name)
    return 0 if tensor is None or tensor.axes is None else math.prod(axis.size for axis in tensor.axes)
