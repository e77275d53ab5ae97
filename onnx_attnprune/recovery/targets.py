"""Where the error of a consumer is measured, and which consumers may be refitted at the same time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from onnx_attnprune.graph import Node, names_read
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.recovery.forms import Array
from onnx_attnprune.recovery.jobs import Job
from onnx_attnprune.recovery.means import Constants
from onnx_attnprune.recovery.rectified import bytes_of_rows, is_dear

PLAIN = {("", "Conv"), ("", "ConvTranspose"), ("", "Gemm"), ("", "MatMul"), ("com.microsoft", "FusedMatMul")}
FREE = (-math.inf, math.inf)
BOUNDS = {"Relu": (0.0, math.inf), "HardSwish": (-3.0, math.inf)}
SMALLEST = 1e-3  # of the largest scale of a channel; a change behind a smaller one would have to be very large


@dataclass(frozen=True, slots=True)
class Target:
    """Where a consumer's error is looked at: a tensor that is its result times `scale` [outputs] plus something that
    does not depend on it. None: not at all, for the result is no product of its weight.

    low, high: all that reads the tensor makes the same of any two numbers below `low`, and of any two above `high`.
    """

    name: str | None
    scale: Array | None = None
    low: float = -math.inf
    high: float = math.inf

    @property
    def bounded(self) -> bool:
        """True where some errors do not matter."""
        return self.low > -math.inf or self.high < math.inf


class Flow:
    """What rests on what in the main graph of an unpruned model; `readers`: the nodes that read a tensor, those with a
    body that does included; `outputs`: the names of the results; `constants`: what the file holds."""

    def __init__(self, analysis: Analysis, jobs: Sequence[Job]) -> None:
        self._analysis, self.constants = analysis, Constants(analysis)
        self.readers: dict[str, list[Node]] = {}
        self.outputs = {v.name for v in analysis.graph.model.graph.output}
        self._behind: dict[str, int] = {}  # for each tensor the jobs that it rests on, a bit each
        own: dict[int, int] = {}
        for k, job in enumerate(jobs):
            own[job.consumer.node.index] = own.get(job.consumer.node.index, 0) | 1 << k
        for node in analysis.graph.nodes:
            bits = own.get(node.index, 0)
            for name in names_read(node.proto):
                bits |= self._behind.get(name, 0)
                self.readers.setdefault(name, []).append(node)
            self._behind.update((name, bits) for name in node.outputs)

    def target(self, place: int, job: Job) -> Target:
        """Behind a residual sum, where nothing later can still change it: there the fit also makes up for what the
        other branch lacks. Else at the consumer's own result."""
        node = job.consumer.node
        if (node.domain, node.op) not in PLAIN:
            return Target(None)
        own, name, scale = Target(node.outputs[0]), node.outputs[0], None
        ones = np.ones(len(job.consumer.outputs))
        while len(self.readers.get(name, ())) == 1:
            reader = self.readers[name][0]
            if reader.op == "BatchNormalization" and not reader.domain and scale is None:
                scale = self._scale(reader)
                if scale is None:
                    break
            elif reader.op in ("Add", "Sub") and not reader.domain and len(reader.inputs) == 2:
                other = reader.inputs[0] if reader.inputs[1] == name else reader.inputs[1]
                if self._behind.get(other, 0) and self._alike(name, reader.outputs[0]) and other != name:
                    last = self._behind[reader.outputs[0]].bit_length() - 1 == place
                    sign = -1.0 if reader.op == "Sub" and reader.inputs[1] == name else 1.0
                    if not last:
                        return own
                    both = reader.outputs[0]
                    return Target(both, sign * (ones if scale is None else scale), *self._bounds(both, job))
                if self.constants.array(other) is None or reader.op == "Sub":
                    break
            elif reader.op not in ("Identity", "Dropout"):
                break
            name = reader.outputs[0]
        bounds = self._bounds(name, job)
        return Target(name, scale, *bounds) if bounds != FREE and self._alike(node.outputs[0], name) else own

    def _bounds(self, name: str, job: Job) -> tuple[float, float]:
        """The numbers between which it matters what a tensor holds: those of an activation that alone reads it."""
        readers = self.readers.get(name, ())
        if len(readers) != 1 or name in self.outputs or readers[0].domain or is_dear(job):
            return FREE
        if readers[0].op == "Clip":
            return self._clipped(readers[0])
        return BOUNDS.get(readers[0].op, FREE)

    def _clipped(self, node: Node) -> tuple[float, float]:
        found = list(FREE)
        for k, attribute in enumerate(("min", "max")):
            if node.attr(attribute) is not None:
                found[k] = float(node.attr(attribute))
            elif k + 1 < len(node.inputs) and node.inputs[k + 1]:
                stored = self.constants.array(node.inputs[k + 1])
                if stored is None:
                    return FREE
                found[k] = float(stored.reshape(-1)[0])
        return found[0], found[1]

    def _alike(self, one: str, other: str) -> bool:
        a, b = (self._analysis.tensors[n].axes for n in (one, other))
        return a is not None and b is not None and [x.size for x in a] == [y.size for y in b]

    def _scale(self, norm: Node) -> Array | None:
        gamma, variance = (self.constants.array(norm.inputs[k]) for k in (1, 4))
        if gamma is None or variance is None or norm.attr("training_mode", 0):
            return None
        scale = gamma / np.sqrt(variance + float(norm.attr("epsilon", 1e-5)))
        return scale if np.abs(scale).min() > SMALLEST * np.abs(scale).max() else None

    def waves(self, jobs: Sequence[Job], targets: Sequence[Target], room: int) -> Iterator[list[int]]:
        """Sets of jobs, by their place, in the order of the graph: none rests on another one of its set, and what is
        gathered for them fits into memory."""
        wave: list[int] = []
        bits = size = 0
        for k, job in enumerate(jobs):
            rests = self._behind.get(job.consumer.source, 0)
            seen = targets[k].name
            if seen is not None and seen != job.consumer.node.outputs[0]:
                rests |= self._behind[seen] & ~(1 << k)
            width = len(job.consumer.outputs) // job.view.groups
            columns = int(job.kept.sum(1).max())
            more = 16 * job.view.groups * columns * (columns + width)
            if targets[k].bounded:
                more += bytes_of_rows(job)
            if wave and (rests & bits or size + more > room):
                yield wave
                wave, bits, size = [], 0, 0
            wave.append(k)
            bits |= 1 << k
            size += more
        if wave:
            yield wave
