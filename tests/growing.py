"""What random networks of every kind are built with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tests.golden.nets import Builder


class Growing(Builder):
    """A network that grows by random layers; `latest` holds the results that a later layer may start from."""

    draw: st.DrawFn
    latest: Sequence[str] = ("x",)
    count = 0

    def fresh(self, kind: str) -> str:
        """A name that is not taken."""
        self.count += 1
        return f"{kind}{self.count}"

    def add(self, kind: str, operands: list[str], channels: int | None = None, **attributes: Any) -> str:
        """A node; its result has the channels of the first operand unless told otherwise."""
        return self.op(kind, operands, self.fresh(kind.lower()), channels, **attributes)

    def remember(self, x: str) -> str:
        """Let later layers start from x."""
        self.latest = [*self.latest, x][-4:]
        return x

    def listed(self, values: list[int]) -> str:
        """Integers as a constant."""
        return self.constant(self.fresh("ints"), values)

    def stored(self, name: str, values: Any, dtype: Any = np.float32) -> str:
        """Given numbers as a constant."""
        self.weights.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def pick(self) -> str:
        """One of the latest tensors."""
        return self.draw(st.sampled_from(list(self.latest)))

    def number(self, low: int, high: int) -> int:
        """A random integer, both ends included."""
        return self.draw(st.integers(low, high))

    def divisor(self, n: int) -> int:
        """A random divisor."""
        return self.draw(st.sampled_from([d for d in range(1, n + 1) if n % d == 0]))

    def model(self, shape: Sequence[int | str | None]) -> ModelProto:
        """The model whose output is `y`, with ONNX Runtime's own operators at hand."""
        output = helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)
        graph = helper.make_graph(self.nodes, "g", [self.input], [output], self.weights)
        versions = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=versions, ir_version=10)
