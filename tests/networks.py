"""A hypothesis strategy for valid random networks over the operators that have rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from onnx import ModelProto, helper

from tests.growing import Growing

Size = tuple[int, int]
ACTIVATIONS = ["Relu", "Sigmoid", "HardSwish", "Tanh", "LeakyRelu", "Softplus", "Abs", "Exp", "Neg", "Cos", "Identity"]


class Grower(Growing):
    """Adds random layers to a network; every tensor that is still of use is remembered with its size in space."""

    def __init__(self, draw: st.DrawFn, opset: int) -> None:
        super().__init__(draw(st.integers(1, 4)), seed=draw(st.integers(0, 999)), size=(6, 4), opset=opset)
        self.draw = draw
        self.space: dict[str, Size] = {"x": (6, 4)}

    def add(  # type: ignore[override]  # an image has a size in space, too
        self,
        kind: str,
        operands: list[str],
        channels: int | None = None,
        space: Size | None = None,
        **attributes: Any,
    ) -> str:
        """A node, its result remembered; of the first operand's channels and size unless told otherwise."""
        name = self.op(kind, operands, self.fresh(kind.lower()), channels, **attributes)
        self.space[name] = self.space[operands[0]] if space is None else space
        return name

    def pick(self) -> str:
        """One of the latest tensors."""
        return self.draw(st.sampled_from(list(self.space)[-4:]))

    # ---------------------------------------------------------------- layers
    def mixing(self, x: str, out: int, kernel: int = 1, group: int = 1) -> str:
        name = self.fresh("conv")
        operands = [x, self.made_of(self.weight(f"{name}.weight", out, self.channels[x] // group, kernel, kernel))]
        operands += [self.weight(f"{name}.bias", out)] if self.draw(st.booleans()) else []
        return self.add("Conv", operands, out, group=group, pads=[kernel // 2] * 4)

    def made_of(self, weight: str) -> str:
        """The weight, or now and then what the network makes of it: less the mean of its rows, over their norm or over
        that of all."""
        kind = self.draw(st.sampled_from(["stored"] * 5 + ["centred", "unit", "whole"]))
        if kind == "stored":
            return weight
        axes = [1, 2, 3] if kind != "whole" else [0, 1, 2, 3]
        given = ([self.constant(self.fresh("axes"), axes)], {}) if self.opset >= 18 else ([], {"axes": axes})
        over = self.op(
            "ReduceMean" if kind == "centred" else "ReduceL2", [weight, *given[0]], self.fresh("over"), 1, **given[1]
        )
        return self.op("Sub" if kind == "centred" else "Div", [weight, over], self.fresh("computed"), 1)

    def convolution(self, x: str) -> str:
        group = self.divisor(self.channels[x])
        return self.mixing(x, group * self.number(1, 7 if group == 1 else 3), self.draw(st.sampled_from([1, 3])), group)

    def transposed(self, x: str) -> str:
        group, name = self.divisor(self.channels[x]), self.fresh("convt")
        per, (h, w) = self.number(1, 4), self.space[x]
        weight = self.weight(f"{name}.weight", self.channels[x], per, 2, 2)
        grown = (2 * h, 2 * w) if h * w < 60 else (h - 1 + 2, w - 1 + 2)
        return self.add(
            "ConvTranspose", [x, weight], group * per, grown, group=group, strides=[2, 2] if h * w < 60 else [1, 1]
        )

    def normalised(self, x: str) -> str:
        kind = self.draw(st.sampled_from(["batch", "instance", "group", "layer"]))
        n, name = self.channels[x], self.fresh("norm")
        if kind == "batch":
            y = self.norm(x, name)
            self.space[y] = self.space[x]
            return y
        if kind == "layer" and self.opset >= 17:
            return self.add("LayerNormalization", [x, self.weight(f"{name}.g", self.space[x][1])], axis=-1)
        if kind != "group" or self.opset < 21:
            return self.add("InstanceNormalization", [x, self.weight(f"{name}.g", n), self.weight(f"{name}.b", n)])
        return self.add(
            "GroupNormalization",
            [x, self.weight(f"{name}.g", n), self.weight(f"{name}.b", n)],
            num_groups=self.divisor(n),
        )

    def activated(self, x: str) -> str:
        kind = self.draw(st.sampled_from(ACTIVATIONS))
        y = self.add("Tanh", [x]) if kind == "Exp" else x
        return self.add(kind, [y])

    def scaled(self, x: str) -> str:
        """By a constant in one of the positions that broadcast."""
        n, (h, w) = self.channels[x], self.space[x]
        shape = self.draw(st.sampled_from([(n, 1, 1), (1, n, 1, 1), (1,), (w,), (h, 1), (n, h, w)]))
        kind = self.draw(st.sampled_from(["Add", "Sub", "Mul", "PRelu", "Max"]))
        operands = [x, self.weight(self.fresh("const"), *shape)]
        if kind != "PRelu" and self.draw(st.booleans()):
            name = self.op(kind, operands[::-1], self.fresh("swapped"), n)
            self.space[name] = self.space[x]
            return name
        return self.add(kind, operands)

    def joined(self, x: str) -> str:
        """With another tensor of the same size: summed (through a convolution where channels differ) or
        concatenated."""
        others = [t for t in list(self.space)[-6:] if self.space[t] == self.space[x]]
        other = self.draw(st.sampled_from(others))
        kind = self.draw(st.sampled_from(["Add", "Mul", "Sub", "Concat", "Min"]))
        if kind == "Concat":
            total = self.channels[x] + self.channels[other]
            return self.add("Concat", [x, other], total, axis=1)
        if self.channels[other] != self.channels[x]:
            other = self.mixing(other, self.channels[x])
        return self.add("Tanh", [self.add(kind, [x, other])])

    def gated(self, x: str) -> str:
        """Squeeze and excite."""
        pooled = self.add("GlobalAveragePool", [x], space=(1, 1))
        small = self.add("Relu", [self.mixing(pooled, self.number(1, 5))])
        gate = self.add("Sigmoid", [self.mixing(small, self.channels[x])])
        return self.add("Mul", [x, gate])

    def pooled(self, x: str) -> str:
        kind = self.draw(st.sampled_from(["MaxPool", "AveragePool"]))
        return self.add(kind, [x], kernel_shape=[3, 3], pads=[1, 1, 1, 1])

    def halves(self, x: str) -> str:
        """Split, one part worked on, joined the other way round."""
        n = self.channels[x]
        if n < 2:
            return self.activated(x)
        first = self.number(1, n - 1)
        names = [self.fresh("part"), self.fresh("part")]
        self.nodes.append(helper.make_node("Split", [x, self.listed([first, n - first])], names, axis=1))
        for name, size in zip(names, (first, n - first), strict=True):
            self.channels[name], self.space[name] = size, self.space[x]
        return self.add("Concat", [self.activated(names[1]), names[0]], n, axis=1)

    def sliced(self, x: str) -> str:
        n = self.channels[x]
        start = self.number(0, n - 1)
        stop = self.number(start + 1, n)
        a = start - n if self.draw(st.booleans()) else start
        e = stop - n if stop < n and self.draw(st.booleans()) else (2**63 - 1 if stop == n else stop)
        return self.add("Slice", [x, self.listed([a]), self.listed([e]), self.listed([1])], stop - start)

    def gathered(self, x: str) -> str:
        indices = self.draw(st.lists(st.integers(-self.channels[x], self.channels[x] - 1), min_size=1, max_size=8))
        return self.add("Gather", [x, self.listed(indices)], len(indices), axis=1)

    def shuffled(self, x: str) -> str:
        n, (h, w) = self.channels[x], self.space[x]
        g = self.divisor(n)
        grid = self.op("Reshape", [x, self.listed([0, g, n // g, h, w])], self.fresh("grid"), n)
        dealt = self.op("Transpose", [grid], self.fresh("dealt"), n, perm=[0, 2, 1, 3, 4])
        y = self.op("Reshape", [dealt, self.listed([0, -1, h, w])], self.fresh("back"), n)
        self.space[y] = self.space[x]
        return y

    def padded(self, x: str) -> str:
        low, high, left = self.number(0, 2), self.number(0, 2), self.number(0, 1)
        (h, w), n = self.space[x], self.channels[x]
        return self.add("Pad", [x, self.listed([0, low, 0, left, 0, high, 1, 0])], n + low + high, (h + 1, w + left))

    def tiled(self, x: str) -> str:
        times = self.number(1, 2)
        return self.add("Tile", [x, self.listed([1, times, 1, 1])], self.channels[x] * times)

    def laid_out(self, x: str) -> str:
        """To channels last, through a matrix and back; or blocks of space to channels and back."""
        (h, w), n = self.space[x], self.channels[x]
        if h % 2 == 0 and w % 2 == 0 and n < 6 and self.draw(st.booleans()):
            y = self.add("SpaceToDepth", [x], 4 * n, (h // 2, w // 2), blocksize=2)
            z = self.activated(y)
            return self.add(
                "DepthToSpace", [z], n, (h, w), blocksize=2, mode=self.draw(st.sampled_from(["DCR", "CRD"]))
            )
        out = self.number(1, 6)
        last = self.op("Transpose", [x], self.fresh("last"), n, perm=[0, 2, 3, 1])
        mixed = self.op("MatMul", [last, self.weight(self.fresh("mat"), n, out)], self.fresh("mixed"), out)
        y = self.op("Transpose", [mixed], self.fresh("first"), out, perm=[0, 3, 1, 2])
        self.space[y] = (h, w)
        return y

    def over_channels(self, x: str) -> str:
        """What mixes channels without a weight: kept, or exact where silent channels add nothing."""
        kind = self.draw(st.sampled_from(["Softmax", "ReduceSum", "ReduceMean", "LRN", "ReduceL2"]))
        if kind == "Softmax":
            return self.add("Softmax", [x], axis=1)
        if kind == "LRN":
            return self.add("LRN", [x], size=3)
        if kind == "ReduceSum" or self.opset >= 18:
            one = self.add(kind, [x, self.listed([1])], 1, keepdims=1)
        else:
            one = self.add(kind, [x], 1, axes=[1], keepdims=1)
        return self.add("Tanh", [self.add("Mul", [x, one])])

    def resampled(self, x: str) -> str:
        (h, w), name = self.space[x], self.stored(self.fresh("scales"), [1, 1, 1, 2])
        return self.add("Resize", [x, "", name], None, (h, 2 * w), mode="nearest") if w < 9 else self.activated(x)

    def chosen(self, x: str) -> str:
        """Element by element from one of two tensors, by a comparison of one of them with channels' bounds."""
        bound = self.weight(self.fresh("bound"), self.channels[x], 1, 1)
        test = self.op("Greater", [x, bound], self.fresh("greater"))
        return self.add("Where", [test, self.activated(x), bound], space=self.space[x])

    def spread(self, x: str) -> str:
        """The mean of space, expanded to the shape that another tensor has at run time."""
        shape = self.op("Shape", [x], self.fresh("shape"))
        mean = self.add("GlobalAveragePool", [x], space=(1, 1))
        return self.add("Expand", [mean, shape], space=self.space[x])

    def computed(self, x: str) -> str:
        """Through a matrix and back, by shapes that the graph computes: (batch, -1), and the shape of before."""
        shape = self.op("Shape", [x], self.fresh("shape"))
        batch = self.op("Slice", [shape, self.listed([0]), self.listed([1])], self.fresh("batch"))
        pair = self.op("Concat", [batch, self.listed([-1])], self.fresh("pair"), axis=0)
        flat = self.op("Reshape", [x, pair], self.fresh("flat"), self.channels[x])
        y = self.op(
            "Reshape", [self.op("Tanh", [flat], self.fresh("tanh")), shape], self.fresh("back"), self.channels[x]
        )
        self.space[y] = self.space[x]
        return y

    def normalised_in_groups(self, x: str) -> str:
        """Group norm as PyTorch's exporter writes it: an instance norm of groups laid out in rows, scale and shift."""
        n, (h, w) = self.channels[x], self.space[x]
        g = self.divisor(n)
        rows = self.op("Reshape", [x, self.listed([0, g, -1])], self.fresh("rows"), n)
        unit = [self.stored(self.fresh("one"), np.ones(g)), self.stored(self.fresh("nought"), np.zeros(g))]
        even = self.op("InstanceNormalization", [rows, *unit], self.fresh("even"), n)
        y = self.op("Reshape", [even, self.listed([0, n, h, w])], self.fresh("back"), n)
        self.space[y] = self.space[x]
        scaled = self.add("Mul", [y, self.weight(self.fresh("gamma"), n, 1, 1)])
        return self.add("Add", [scaled, self.weight(self.fresh("beta"), n, 1, 1)])

    def unfolded(self, x: str) -> str:
        """Pixel shuffle in pieces: a convolution to four times the channels, which are laid out in space."""
        (h, w), c = self.space[x], self.number(1, 4)
        if h * w > 30:
            return self.convolution(x)
        grid = self.op("Reshape", [self.mixing(x, 4 * c), self.listed([0, c, 2, 2, h, w])], self.fresh("grid"), c)
        dealt = self.op("Transpose", [grid], self.fresh("dealt"), c, perm=[0, 1, 4, 2, 5, 3])
        return self.add("Reshape", [dealt, self.listed([0, c, 2 * h, 2 * w])], c, (2 * h, 2 * w))

    def quantised(self, x: str) -> str:
        """A convolution of 8-bit numbers: between quantised and dequantised tensors, or in one operator."""
        group, per_channel, n = self.divisor(self.channels[x]), self.draw(st.booleans()), self.channels[x]
        out = group * self.number(1, 3)
        zero = self.stored(self.fresh("zero"), self.draw(st.sampled_from([0, 128])), np.uint8)
        step = self.stored(self.fresh("step"), 1 / 16)
        steps = 2.0 ** self._rng.integers(-8, -5, out)
        packed = self.stored(self.fresh("packed"), self._rng.integers(-63, 64, (out, n // group, 1, 1)), np.int8)
        scale = self.stored(self.fresh("scale"), steps if per_channel else steps[0])
        nought = self.stored(self.fresh("nought"), np.zeros(out) if per_channel else 0, np.int8)
        q = self.op("QuantizeLinear", [x, step, zero], self.fresh("quantised"))  # no start for a later layer
        if self.draw(st.booleans()):
            operands = [q, step, zero, packed, scale, nought, step, zero]
            y = self.op("QLinearConv", operands, self.fresh("qconv"), out, group=group)
            return self.add("DequantizeLinear", [y, step, zero], out, self.space[x])
        axis = {"axis": 0} if per_channel else {}
        weight = self.op("DequantizeLinear", [packed, scale, nought], self.fresh("weight"), out, **axis)
        back = self.op("DequantizeLinear", [q, step, zero], self.fresh("dequantised"))
        y = self.op("Conv", [back, weight], self.fresh("conv"), out, group=group)
        again = self.op("QuantizeLinear", [y, step, zero], self.fresh("quantised"))
        return self.add("DequantizeLinear", [again, step, zero], out, self.space[x])

    def layers(self) -> list[Callable[[str], str]]:
        return [
            self.convolution, self.convolution, self.transposed, self.normalised, self.activated, self.scaled,
            self.joined, self.joined, self.gated, self.pooled, self.halves, self.sliced, self.gathered,
            self.shuffled, self.padded, self.tiled, self.laid_out, self.over_channels,
            self.chosen, self.spread, self.computed, self.resampled, self.normalised_in_groups, self.unfolded,
            self.quantised,
        ]  # fmt: skip  # a list

    def finished(self, x: str) -> ModelProto:
        """A head: a convolution, or pooled, or flattened to a matrix."""
        kind, (h, w) = self.draw(st.sampled_from(["conv", "pool", "flat"])), self.space[x]
        if kind == "conv":
            self.op("Conv", [x, self.weight("head.weight", 2, self.channels[x], 1, 1)], "y", 2)
            return self.model(["N", 2, h, w])
        if kind == "pool":
            x, h, w = self.add("GlobalMaxPool", [x], space=(1, 1)), 1, 1
        shape = self.listed([0, -1] if self.draw(st.booleans()) else [-1, self.channels[x] * h * w])
        flat = self.op("Reshape", [x, shape], "flat")
        self.op("Gemm", [flat, self.weight("head.weight", 3, self.channels[x] * h * w)], "y", transB=1)
        return self.model(["N", 3])


@st.composite
def networks(draw: st.DrawFn) -> ModelProto:
    """A convolution, up to ten random layers, a head."""
    grower = Grower(draw, draw(st.sampled_from([15, 17, 18, 21])))
    x = grower.mixing("x", grower.number(2, 7), 3)
    for _ in range(grower.number(1, 10)):
        x = draw(st.sampled_from(grower.layers()))(grower.pick() if draw(st.booleans()) else x)
        if grower.channels[x] > 24:
            x = grower.mixing(x, 5)
    return grower.finished(x)
