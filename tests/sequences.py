"""Random networks over sequences: attention, feed-forward, recurrence, control flow, quantisation.

Every tensor is batch x length x channels. `SequenceGrower.layers` lists the families; each layer gives the name of its
result.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st
from onnx import GraphProto, ModelProto, TensorProto, helper

from tests.growing import Growing
from tests.quantised_layers import QuantisedLayers
from tests.turned_layers import TurnedLayers

MICROSOFT = "com.microsoft"
LENGTH = 6  # what tests/oracle.py takes for a free size that is not the first


class SequenceGrower(QuantisedLayers, TurnedLayers, Growing):
    """Adds random layers to a network over sequences of a fixed or of a free length."""

    def __init__(self, draw: st.DrawFn, opset: int) -> None:
        super().__init__(draw(st.integers(1, 5)), seed=draw(st.integers(0, 999)), size=(1, 1), opset=opset)
        self.draw = draw
        self.is_free = draw(st.booleans())
        shape = ["N", "S" if self.is_free else LENGTH, self.channels["x"]]
        self.input = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)

    # ---------------------------------------------------------------- feed-forward
    def linear(self, x: str, out: int) -> str:
        """x by a weight, in one of the ways that exporters write; with a bias or without."""
        kind, name = self.draw(st.sampled_from(["MatMul", "FusedMatMul", "Einsum"])), self.fresh("linear")
        n = self.channels[x]
        if kind == "MatMul":
            y = self.add("MatMul", [x, self.weight(f"{name}.weight", n, out)], out)
        elif kind == "Einsum":
            y = self.add("Einsum", [x, self.weight(f"{name}.weight", n, out)], out, equation="abc,cd->abd")
        else:
            weight = self.weight(f"{name}.weight", out, n)
            y = self.add("FusedMatMul", [x, weight], out, domain=MICROSOFT, transB=1)
        return self.add("Add", [y, self.weight(f"{name}.bias", out)]) if self.draw(st.booleans()) else y

    def dense(self, x: str) -> str:
        return self.activated(self.linear(x, self.number(1, 7)))

    def activated(self, x: str) -> str:
        kind = self.draw(st.sampled_from(["Relu", "Sigmoid", "Tanh", "Cos", "QuickGelu", "FastGelu", "BiasGelu"]))
        if kind == "BiasGelu":
            return self.add(kind, [x, self.weight(self.fresh("bias"), self.channels[x])], domain=MICROSOFT)
        return self.add(kind, [x], domain=MICROSOFT if kind.endswith("Gelu") else "")

    def residual(self, x: str) -> str:
        inner = self.activated(self.linear(x, self.number(2, 7)))
        return self.add("Add", [x, self.linear(inner, self.channels[x])])

    def gated(self, x: str) -> str:
        """Two projections multiplied, as in SwiGLU; or one projection, of which one half gates the other."""
        width = self.number(2, 6)
        if self.draw(st.booleans()):
            gate, up = self.linear(x, width), self.linear(x, width)
        else:
            gate, up = self.parts(self.linear(x, 2 * width), [width, width])
        gate = self.add("Mul", [gate, self.add("Sigmoid", [gate])])
        return self.linear(self.add("Mul", [gate, up]), self.number(1, 6))

    def parts(self, x: str, sizes: list[int]) -> list[str]:
        """A split of the channels."""
        names = [self.fresh("part") for _ in sizes]
        self.nodes.append(helper.make_node("Split", [x, self.listed(sizes)], names, axis=-1))
        self.channels.update(zip(names, sizes, strict=True))
        return names

    def crossed(self, x: str) -> str:
        """The channels split, one part worked on, joined the other way round; some picked by index."""
        n = self.channels[x]
        first = self.number(1, n - 1) if n > 1 else 0
        if not first:
            return self.dense(x)
        one, two = self.parts(x, [first, n - first])
        joined = self.add("Concat", [self.activated(two), one], n, axis=2)
        indices = self.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=6))
        return self.add("Gather", [joined, self.listed(indices)], len(indices), axis=2)

    def normalised(self, x: str) -> str:
        n, kind = self.channels[x], self.draw(st.sampled_from(["layer", "skip", "rms", "rms in pieces"]))
        scale = self.weight(self.fresh("scale"), n)
        if kind == "skip":
            other = self.linear(self.pick(), n)
            return self.add("SkipLayerNormalization", [x, other, scale], domain=MICROSOFT)
        if kind == "rms" and self.opset >= 23:
            return self.add("RMSNormalization", [x, scale])
        if kind == "layer" or self.opset < 18:
            return self.add("LayerNormalization", [x, scale])
        square = self.add("Mul", [x, x])
        mean = self.add("ReduceMean", [square, self.listed([-1])], 1)
        root = self.add("Sqrt", [self.add("Add", [mean, self.stored(self.fresh("eps"), 1e-3)])])
        return self.add("Mul", [self.add("Div", [x, root]), scale])

    # ---------------------------------------------------------------- attention
    def attention(self, x: str) -> str:
        """In one operator or decomposed; over itself or another tensor; query heads that share a key."""
        other = self.pick() if self.draw(st.booleans()) else x
        heads, share, size = self.number(1, 3), self.number(1, 2), self.number(1, 3)
        kinds = ["decomposed", "decomposed", "MultiHeadAttention", "fused"] + ["Attention"] * (self.opset >= 23)
        kind = self.draw(st.sampled_from(kinds))
        if kind == "fused":
            return self.linear(self._fused(x, heads, size), self.number(1, 6))
        share = 1 if kind == "MultiHeadAttention" else share
        # ONNX Runtime's kernel wants values of the width of the keys where it is given a head size that differs.
        value = size if kind == "MultiHeadAttention" else self.number(1, 3)
        q, k, v = self._projections(x, other, (heads * share * size, heads * size, heads * value))
        out = heads * share * value
        if kind == "MultiHeadAttention":
            y = self.add(kind, [q, k, v], out, domain=MICROSOFT, num_heads=heads)
        elif kind == "Attention":
            y = self.add(kind, [q, k, v], out, q_num_heads=heads * share, kv_num_heads=heads)
        else:
            y = self._decomposed((q, k, v), heads, share, (size, value))
        y = self.linear(y, self.channels[x])
        return self.add("Add", [x, y]) if self.draw(st.booleans()) else y

    def _projections(self, x: str, other: str, widths: tuple[int, int, int]) -> list[str]:
        if x == other and self.draw(st.booleans()):
            return self.parts(self.linear(x, sum(widths)), list(widths))
        return [self.linear(source, width) for source, width in zip((x, other, other), widths, strict=True)]

    def _fused(self, x: str, heads: int, size: int) -> str:
        name, width = self.fresh("qkv"), heads * size
        operands = [
            x,
            self.weight(f"{name}.weight", self.channels[x], 3 * width),
            self.weight(f"{name}.bias", 3 * width),
        ]
        return self.add("Attention", operands, width, domain=MICROSOFT, num_heads=heads)

    def _heads(self, x: str, heads: int, size: int, perm: list[int]) -> str:
        """Heads beside head dims; batch and length copied, or computed as PyTorch's newer exporter writes a view."""
        if self.opset < 15 or self.draw(st.booleans()):
            grid = self.add("Reshape", [x, self.listed([0, 0, heads, size])])
        else:
            shape = self.add("Concat", [self.add("Shape", [x], end=2), self.listed([heads, -1])], axis=0)
            grid = self.add("Reshape", [x, shape], allowzero=1)
        return self.add("Transpose", [grid], perm=perm)

    def _decomposed(self, qkv: tuple[str, str, str], heads: int, share: int, sizes: tuple[int, int]) -> str:
        size, value = sizes
        q = self._heads(qkv[0], heads * share, size, [0, 2, 1, 3])
        k = self._heads(qkv[1], heads, size, [0, 2, 3, 1])
        v = self._heads(qkv[2], heads, value, [0, 2, 1, 3])
        if share > 1:
            k, v = self._repeated(k, heads, share, [size, -1]), self._repeated(v, heads, share, [-1, value])
        scores = self.add("Mul", [self.add("MatMul", [q, k]), self.stored(self.fresh("scale"), size**-0.5)])
        if self.draw(st.booleans()):  # what is added to the scores of each head
            scores = self.add("Add", [scores, self.weight(self.fresh("relative"), heads * share, 1, 1)])
        mixed = self.add("MatMul", [self.add("Softmax", [scores], axis=-1), v])
        back = self.add("Transpose", [mixed], perm=[0, 2, 1, 3])
        return self.add("Reshape", [back, self.listed([0, 0, heads * share * value])], heads * share * value)

    def _repeated(self, x: str, heads: int, share: int, tail: list[int]) -> str:
        wide = self.add("Unsqueeze", [x, self.listed([2])])
        tiled = self.add("Expand", [wide, self.listed([1, 1, share, 1, 1])])
        return self.add("Reshape", [tiled, self.listed([0, heads * share, *tail])])

    # ---------------------------------------------------------------- along the length
    def recurrent(self, x: str) -> str:
        """LSTM, GRU or RNN, in one direction or both, or the last state of it laid over the whole length."""
        kind, hidden = self.draw(st.sampled_from(["LSTM", "GRU", "RNN"])), self.number(2, 4)
        way = self.draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
        d, gates, name = 1 + (way == "bidirectional"), {"LSTM": 4, "GRU": 3, "RNN": 1}[kind], self.fresh("recurrent")
        turned = self.add("Transpose", [x], perm=[1, 0, 2])
        operands = [turned, self.weight(f"{name}.w", d, gates * hidden, self.channels[x])]
        operands.append(self.weight(f"{name}.r", d, gates * hidden, hidden))
        if self.draw(st.booleans()):
            operands.append(self.weight(f"{name}.b", d, 2 * gates * hidden))
        more = {"linear_before_reset": self.number(0, 1)} if kind == "GRU" else {}
        if kind == "LSTM" and self.draw(st.booleans()):
            operands += [""] * (7 - len(operands)) + [self.weight(f"{name}.p", d, 3 * hidden)]
        names = [self.fresh("all"), self.fresh("last")]
        self.nodes.append(helper.make_node(kind, operands, names, direction=way, hidden_size=hidden, **more))
        if self.draw(st.booleans()):
            rows, count = self.add("Transpose", [names[0]], d * hidden, perm=[2, 0, 1, 3]), d * hidden
            return self.add("Reshape", [rows, self.listed([0, 0, count])], count)
        last = self.add("Transpose", [names[1]], d * hidden, perm=[1, 0, 2])
        row = self.add("Reshape", [last, self.listed([0, 1, d * hidden])])
        return self.add("Add", [self.linear(x, d * hidden), row])

    def convolved(self, x: str) -> str:
        """One-dimensional, over the length; in groups, where the channels allow it."""
        n, name = self.channels[x], self.fresh("conv")
        group = self.divisor(n)
        out = group * self.number(1, 3)
        turned = self.add("Transpose", [x], perm=[0, 2, 1])
        weight = self.weight(f"{name}.weight", out, n // group, 3)
        return self.add(
            "Transpose", [self.add("Conv", [turned, weight], out, group=group, pads=[1, 1])], perm=[0, 2, 1]
        )

    def pooled(self, x: str) -> str:
        """The mean or the largest over the length, beside what it is taken of."""
        kind = self.draw(st.sampled_from(["ReduceMean", "ReduceMax", "ReduceSum"]))
        listed = kind == "ReduceSum" or self.opset >= 18
        one = self.add(kind, [x, self.listed([1])]) if listed else self.add(kind, [x], axes=[1])
        return self.add(self.draw(st.sampled_from(["Add", "Mul", "Max"])), [x, one])  # a difference may be nothing

    # ---------------------------------------------------------------- control flow
    def branched(self, x: str) -> str:
        """An If on the numbers of the input, whose branches read x and weights from outside."""
        largest = self.add("ReduceMax", ["x"], keepdims=0)
        test = self.add("Greater", [largest, self.stored(self.fresh("zero"), 0.5)])
        inner = self.weight(self.fresh("outer"), self.channels[x])
        one = self.body("Add", [x, inner], self.fresh("then"))
        two = self.body(self.draw(st.sampled_from(["Tanh", "Relu", "Cos"])), [x], self.fresh("else"))
        return self.add("If", [test], self.channels[x], then_branch=one, else_branch=two)

    def body(self, kind: str, operands: list[str], result: str) -> GraphProto:
        """A body of one node without inputs."""
        info = helper.make_tensor_value_info(result, TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node(kind, operands, [result])], f"body_{result}", [], [info])

    def looped(self, x: str) -> str:
        """Two turns of a residual layer with a weight from outside."""
        n, tag = self.channels[x], self.fresh("loop")
        weight = self.weight(f"{tag}.weight", n, n)
        nodes = [
            helper.make_node("MatMul", [f"{tag}.state", weight], [f"{tag}.m"]),
            helper.make_node("Tanh", [f"{tag}.m"], [f"{tag}.t"]),
            helper.make_node("Add", [f"{tag}.state", f"{tag}.t"], [f"{tag}.next"]),
            helper.make_node("Identity", [f"{tag}.go"], [f"{tag}.on"]),
        ]
        given = [
            (f"{tag}.turn", TensorProto.INT64),
            (f"{tag}.go", TensorProto.BOOL),
            (f"{tag}.state", TensorProto.FLOAT),
        ]
        inputs = [helper.make_tensor_value_info(name, dtype, None if dtype == 1 else []) for name, dtype in given]
        outputs = [
            helper.make_tensor_value_info(f"{tag}.on", TensorProto.BOOL, []),
            helper.make_tensor_value_info(f"{tag}.next", TensorProto.FLOAT, None),
        ]
        turns = self.stored(self.fresh("turns"), 2, np.int64)
        return self.add("Loop", [turns, "", x], n, body=helper.make_graph(nodes, tag, inputs, outputs))

    def scanned(self, x: str) -> str:
        """A recurrence over the length, whose start is a projection of the mean."""
        n, tag, h = self.channels[x], self.fresh("scan"), self.number(1, 4)
        mean = self.add("GlobalAveragePool", [self.add("Transpose", [x], perm=[0, 2, 1])])
        start = self.add("MatMul", [self.add("Squeeze", [mean, self.listed([2])]), self.weight(f"{tag}.s", n, h)], h)
        into, back = self.weight(f"{tag}.i", n, h), self.weight(f"{tag}.h", h, h)
        nodes = [
            helper.make_node("MatMul", [f"{tag}.x", into], [f"{tag}.a"]),
            helper.make_node("MatMul", [f"{tag}.state", back], [f"{tag}.b"]),
            helper.make_node("Add", [f"{tag}.a", f"{tag}.b"], [f"{tag}.c"]),
            helper.make_node("Tanh", [f"{tag}.c"], [f"{tag}.next"]),
            helper.make_node("Identity", [f"{tag}.next"], [f"{tag}.out"]),
        ]
        inputs, outputs = (  # ONNX Runtime wants to be told the shapes, which the cut then has to mend
            [helper.make_tensor_value_info(f"{tag}.{k}", TensorProto.FLOAT, ["N", size]) for k, size in sizes.items()]
            for sizes in ({"state": h, "x": n}, {"next": h, "out": h})
        )
        names = [self.fresh("state"), self.fresh("scanned")]
        body = helper.make_graph(nodes, tag, inputs, outputs)
        sequence = self.add("Transpose", [x], perm=[1, 0, 2])
        self.nodes.append(helper.make_node("Scan", [start, sequence], names, num_scan_inputs=1, body=body))
        self.channels[names[1]] = h
        return self.add("Transpose", [names[1]], perm=[1, 0, 2])

    # ---------------------------------------------------------------- the whole
    def layers(self) -> list[Callable[[str], str]]:
        return [
            self.dense, self.residual, self.gated, self.crossed, self.normalised, self.attention, self.attention,
            self.recurrent, self.convolved, self.pooled, self.branched, self.looped, self.scanned,
            self.quantised, self.quantised, self.rotary, self.windowed,
        ]  # fmt: skip  # a list

    def finished(self, x: str) -> ModelProto:
        """A head over each place, or over the mean of all."""
        if self.draw(st.booleans()):
            x = self.pooled(x)
        self.op("MatMul", [x, self.weight("head.weight", self.channels[x], 3)], "y", 3)
        return self.model(["N", None if self.is_free else LENGTH, 3])


@st.composite
def sequence_networks(draw: st.DrawFn) -> ModelProto:
    """A linear layer, up to six random layers, a head."""
    grower = SequenceGrower(draw, draw(st.sampled_from([17, 18, 21, 23])))
    x = grower.remember(grower.linear("x", grower.number(2, 6)))
    for _ in range(grower.number(1, 6)):
        x = draw(st.sampled_from(grower.layers()))(grower.pick() if draw(st.booleans()) else x)
        x = grower.remember(grower.linear(x, 5) if grower.channels[x] > 12 else x)
    return grower.finished(x)
