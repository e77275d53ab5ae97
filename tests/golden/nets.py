"""Small networks with the shapes of known architectures, and random weights: what the golden group files are of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnx.checker
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper


class Builder:
    """Adds layers one by one; each returns the name of its result. Channels are remembered by that name."""

    def __init__(self, channels: int, *, seed: int = 0, size: tuple[int, int] = (12, 10), opset: int = 17) -> None:
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []
        self.channels, self.opset = {"x": channels}, opset
        self.input = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", channels, *size])
        self._rng = np.random.default_rng(seed)

    def op(self, kind: str, operands: Sequence[str], name: str, channels: int | None = None, **attributes: Any) -> str:
        """A node without weights; by default it leaves the channels of its first operand."""
        self.nodes.append(helper.make_node(kind, operands, [name], name=name, **attributes))
        self.channels[name] = self.channels[operands[0]] if channels is None else channels
        return name

    def weight(self, name: str, *shape: int) -> str:
        """A random weight."""
        fan = int(np.prod(shape[1:])) if len(shape) > 1 else 1
        array = (self._rng.standard_normal(shape) / np.sqrt(max(fan, 1))).astype(np.float32)
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def constant(self, name: str, values: Sequence[int]) -> str:
        """Integers: a shape, sizes of parts."""
        self.weights.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def conv(
        self, x: str, out: int, name: str, *, k: int = 1, stride: int = 1, group: int = 1, bias: bool = False
    ) -> str:
        """A convolution that keeps the size of space but for its stride."""
        operands = [x, self.weight(f"{name}.weight", out, self.channels[x] // group, k, k)]
        operands += [self.weight(f"{name}.bias", out)] if bias else []
        pads = [k // 2] * 4
        return self.op("Conv", operands, name, out, strides=[stride] * 2, pads=pads, group=group, kernel_shape=[k, k])

    def norm(self, x: str, name: str) -> str:
        """Batch normalisation; its variances lie around one."""
        n = self.channels[x]
        operands = [x, *(self.weight(f"{name}.{part}", n) for part in ("weight", "bias", "mean"))]
        variance = self._rng.uniform(0.5, 1.5, n).astype(np.float32)
        self.weights.append(numpy_helper.from_array(variance, f"{name}.var"))
        return self.op("BatchNormalization", [*operands, f"{name}.var"], name)

    def unit(self, x: str, out: int, name: str, act: str = "Relu", **more: int) -> str:
        """Convolution, batch normalisation, activation."""
        y = self.norm(self.conv(x, out, f"{name}.conv", **more), f"{name}.bn")  # type: ignore[arg-type]  # k, stride, group
        return self.op(act, [y], f"{name}.act")

    def head(self, x: str, classes: int) -> ModelProto:
        """Pool, flatten, dense; the model."""
        flat = self.op("Flatten", [self.op("GlobalAveragePool", [x], "pool")], "flat")
        self.op(
            "Gemm",
            [flat, self.weight("fc.weight", classes, self.channels[x]), self.weight("fc.bias", classes)],
            "y",
            transB=1,
        )
        return self.model(["N", classes])

    def model(self, shape: Sequence[int | str]) -> ModelProto:
        """The model whose output is `y`."""
        output = helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)
        graph = helper.make_graph(self.nodes, "g", [self.input], [output], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=10)
        onnx.checker.check_model(model, full_check=True)
        return model


def resnet() -> ModelProto:
    """A stem, a plain residual block, one with stride and projection."""
    b = Builder(3)
    x = b.unit("x", 8, "stem", k=3)
    for stage, (out, stride) in enumerate(((8, 1), (14, 2))):
        name = f"layer{stage}"
        y = b.unit(x, 6 + stage, f"{name}.1", k=3, stride=stride)
        y = b.norm(b.conv(y, out, f"{name}.2.conv", k=3), f"{name}.2.bn")
        if stride > 1:
            x = b.norm(b.conv(x, out, f"{name}.down.conv", stride=stride), f"{name}.down.bn")
        x = b.op("Relu", [b.op("Add", [y, x], f"{name}.add")], f"{name}.relu")
    return b.head(x, 5)


def mobilenet() -> ModelProto:
    """Inverted residuals with squeeze-and-excite and hard swish, as in MobileNetV3."""
    b = Builder(3)
    x = b.unit("x", 6, "stem", "HardSwish", k=3)
    for stage, (wide, out, stride) in enumerate(((18, 6, 1), (21, 10, 2), (26, 10, 1))):
        name = f"block{stage}"
        y = b.unit(x, wide, f"{name}.expand", "HardSwish")
        y = b.unit(y, wide, f"{name}.depthwise", "HardSwish", k=3, stride=stride, group=wide)
        s = b.op("GlobalAveragePool", [y], f"{name}.se.pool")
        s = b.op("Relu", [b.conv(s, 4 + stage, f"{name}.se.fc1", bias=True)], f"{name}.se.relu")
        s = b.op("HardSigmoid", [b.conv(s, wide, f"{name}.se.fc2", bias=True)], f"{name}.se.gate")
        y = b.op("Mul", [y, s], f"{name}.se.scale")
        y = b.norm(b.conv(y, out, f"{name}.project.conv"), f"{name}.project.bn")
        x = b.op("Add", [x, y], f"{name}.add") if out == b.channels[x] else y
    return b.head(x, 5)


def shufflenet() -> ModelProto:
    """Halves, of which one is worked on, joined and shuffled, as in ShuffleNetV2."""
    b = Builder(3)
    x = b.unit("x", 12, "stem", k=3)
    for stage in range(2):
        name = f"unit{stage}"
        halves = [f"{name}.left", f"{name}.right"]
        b.nodes.append(
            helper.make_node("Split", [x, b.constant(f"{name}.parts", [6, 6])], halves, name=f"{name}.split", axis=1)
        )
        b.channels.update(dict.fromkeys(halves, 6))
        y = b.unit(halves[1], 6, f"{name}.1")
        y = b.norm(b.conv(y, 6, f"{name}.2.conv", k=3, group=6), f"{name}.2.bn")
        y = b.unit(y, 6, f"{name}.3")
        y = b.op("Concat", [halves[0], y], f"{name}.join", 12, axis=1)
        y = b.op("Reshape", [y, b.constant(f"{name}.to", [0, 2, 6, 12, 10])], f"{name}.grid")
        y = b.op("Transpose", [y], f"{name}.deal", perm=[0, 2, 1, 3, 4])
        x = b.op("Reshape", [y, b.constant(f"{name}.back", [0, 12, 12, 10])], f"{name}.shuffled", 12)
    return b.head(b.unit(x, 14, "last"), 5)


def densenet() -> ModelProto:
    """A dense block with bottlenecks, and a transition, as in DenseNet."""
    b = Builder(3)
    x = b.conv("x", 8, "stem", k=3)
    for layer in range(3):
        name = f"dense{layer}"
        y = b.op("Relu", [b.norm(x, f"{name}.bn1")], f"{name}.relu1")
        y = b.unit(y, 7, f"{name}.bottleneck")
        y = b.conv(y, 4, f"{name}.conv2", k=3)
        x = b.op("Concat", [x, y], f"{name}.join", b.channels[x] + 4, axis=1)
    x = b.conv(b.op("Relu", [b.norm(x, "transition.bn")], "transition.relu"), 10, "transition.conv")
    x = b.op("AveragePool", [x], "transition.pool", kernel_shape=[2, 2], strides=[2, 2])
    return b.head(x, 5)


def yolo() -> ModelProto:
    """Two C2f blocks with a bottleneck each, and spatial pyramid pooling, as in YOLOv8."""
    b = Builder(3)

    def silu(x: str, out: int, name: str, k: int = 1, stride: int = 1) -> str:
        c = b.conv(x, out, f"{name}.conv", k=k, stride=stride, bias=True)
        return b.op("Mul", [c, b.op("Sigmoid", [c], f"{name}.gate")], f"{name}.act")

    x = silu("x", 8, "stem", 3)
    for stage, (half, out) in enumerate(((5, 9), (6, 11))):
        name = f"c2f{stage}"
        y = silu(x, 2 * half, f"{name}.cv1")
        parts = [f"{name}.a", f"{name}.b"]
        b.nodes.append(
            helper.make_node(
                "Split", [y, b.constant(f"{name}.parts", [half, half])], parts, name=f"{name}.split", axis=1
            )
        )
        b.channels.update(dict.fromkeys(parts, half))
        m = silu(silu(parts[1], half - 1, f"{name}.m.cv1", 3), half, f"{name}.m.cv2", 3)
        m = b.op("Add", [parts[1], m], f"{name}.m.add")
        x = silu(b.op("Concat", [*parts, m], f"{name}.join", 3 * half, axis=1), out, f"{name}.cv2")
    x = y = silu(x, 5, "sppf.cv1")
    pools = [x]
    for k in range(2):
        y = b.op("MaxPool", [y], f"sppf.pool{k}", kernel_shape=[5, 5], pads=[2, 2, 2, 2])
        pools.append(y)
    x = silu(b.op("Concat", pools, "sppf.join", 15, axis=1), 7, "sppf.cv2")
    b.op("Conv", [x, b.weight("detect.weight", 4, 7, 1, 1)], "y", 4)
    return b.model(["N", 4, 12, 10])


def unet() -> ModelProto:
    """Two levels down and up again, by a transposed convolution and by resizing, with skips."""
    b = Builder(3)
    a = b.unit("x", 6, "down0", k=3)
    p = b.op("MaxPool", [a], "pool0", kernel_shape=[2, 2], strides=[2, 2])
    c = b.unit(p, 9, "down1", k=3)
    up = b.op("ConvTranspose", [c, b.weight("up.weight", 9, 5, 2, 2), b.weight("up.bias", 5)], "up", 5, strides=[2, 2])
    x = b.unit(b.op("Concat", [a, up], "skip0", 11, axis=1), 8, "mid", k=3)
    b.weights.append(numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales"))
    wide = b.op("Resize", [c, "", "scales"], "wide", 9, mode="nearest")
    x = b.unit(b.op("Concat", [x, wide], "skip1", 17, axis=1), 7, "out", k=3)
    b.op("Conv", [x, b.weight("mask.weight", 2, 7, 1, 1)], "y", 2)
    return b.model(["N", 2, 12, 10])


NETS: dict[str, Callable[[], ModelProto]] = {
    "densenet": densenet,
    "mobilenet": mobilenet,
    "resnet": resnet,
    "shufflenet": shufflenet,
    "unet": unet,
    "yolo": yolo,
}
