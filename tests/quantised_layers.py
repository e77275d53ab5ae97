"""Random quantised layers over sequences, in the forms that quantisers write."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tests.growing import Growing

STEP = 1 / 16  # scales are powers of two, so that sums of quantised numbers are exact
MOST = 63  # of a weight: pairs of products by unsigned 8-bit numbers stay within 16 bits in every kernel


class QuantisedLayers(Growing):
    """Linear layers of 8-bit numbers."""

    def quantised(self, x: str) -> str:
        """A linear layer of quantised numbers, then something that tells its channels apart."""
        kinds = [self._qdq, self._qlinear, self._dynamic, self._dynamic_in_one, self._to_float, self._dynamic_lstm]
        y = self.draw(st.sampled_from(kinds))(x, self.number(1, 6))
        return self.add("Tanh", [y])

    def _weight(self, rows: int, columns: int, unsigned: bool = False) -> str:
        low, high, dtype = (0, 2 * MOST, np.uint8) if unsigned else (-MOST, MOST, np.int8)
        return self.stored(self.fresh("packed"), self._rng.integers(low, high + 1, (rows, columns)), dtype)

    def _scale(self, columns: int, per_channel: bool) -> str:
        steps = 2.0 ** self._rng.integers(-8, -5, columns if per_channel else 1)
        return self.stored(self.fresh("scale"), steps if per_channel else steps[0])

    def _zero(self, number: int, dtype: type = np.uint8, columns: int = 0) -> str:
        return self.stored(self.fresh("zero"), np.full(columns, number) if columns else number, dtype)

    def _quantise(self, x: str) -> tuple[str, str, str]:
        """x in unsigned numbers, with its scale and zero point."""
        scale, zero = self.stored(self.fresh("scale"), STEP), self._zero(self.draw(st.sampled_from([0, 100, 128])))
        return self.add("QuantizeLinear", [x, scale, zero]), scale, zero

    def _qdq(self, x: str, out: int) -> str:
        """Quantised and back on both sides of a MatMul, with a scale for each column or one for all."""
        per_channel, q = self.draw(st.booleans()), self._quantise(x)
        back = self.add("DequantizeLinear", list(q))
        columns = out if per_channel else 0
        operands = [self._weight(self.channels[x], out), self._scale(out, per_channel), self._zero(0, np.int8, columns)]
        weight = self.add("DequantizeLinear", operands, out, **({"axis": 1} if per_channel else {}))
        y = self.add("MatMul", [back, weight], out)
        if self.draw(st.booleans()):
            y = self.add("Add", [y, self.stored(self.fresh("bias"), self._rng.integers(-8, 8, out) * STEP)])
        return self.add("DequantizeLinear", list(self._quantise(self._activated(y))))

    def _activated(self, x: str) -> str:
        return self.add("Relu", [x]) if self.draw(st.booleans()) else x

    def _qlinear(self, x: str, out: int) -> str:
        """A QLinearMatMul, perhaps with a quantised sum behind it."""
        q, per_channel = self._quantise(x), self.draw(st.booleans())
        columns = out if per_channel else 0
        weight = [self._weight(self.channels[x], out), self._scale(out, per_channel), self._zero(0, np.int8, columns)]
        result = [self.stored(self.fresh("scale"), 4 * STEP), self._zero(128)]
        y = self.add("QLinearMatMul", [*q, *weight, *result], out)
        if self.draw(st.booleans()):
            other = [self.stored(self.fresh("shift"), self._rng.integers(0, 255, out), np.uint8), *result]
            y = self.add("QLinearAdd", [y, *result, *other, *result], domain="com.microsoft")
        return self.add("DequantizeLinear", [y, *result])

    def _dynamic(self, x: str, out: int) -> str:
        """Quantised by its range in the run, multiplied as integers, scaled back."""
        names = [self.fresh("dynamic") for _ in range(3)]
        self.nodes.append(helper.make_node("DynamicQuantizeLinear", [x], names))
        self.channels[names[0]] = self.channels[x]
        unsigned = self.draw(st.booleans())
        zero = self._zero(MOST, np.uint8) if unsigned else self._zero(0, np.int8)
        weight = self._weight(self.channels[x], out, unsigned)
        product = self.add("MatMulInteger", [names[0], weight, names[2], zero], out)
        number = self.add("Cast", [product], to=TensorProto.FLOAT)
        both = self.add("Mul", [names[1], self._scale(out, self.draw(st.booleans()))], out)
        return self.add("Mul", [number, both])

    def _dynamic_in_one(self, x: str, out: int) -> str:
        operands = [x, self._weight(self.channels[x], out), self._scale(out, per_channel=False), self._zero(0, np.int8)]
        if self.draw(st.booleans()):
            operands.append(self.weight(self.fresh("bias"), out))
        return self.add("DynamicQuantizeMatMul", operands, out, domain="com.microsoft")

    def _to_float(self, x: str, out: int) -> str:
        q, scale, zero = self._quantise(x)
        weight, by = self._weight(self.channels[x], out), self._scale(out, self.draw(st.booleans()))
        operands = [q, weight, scale, by, zero, self._zero(0, np.int8)]
        if self.draw(st.booleans()):
            operands.append(self.weight(self.fresh("bias"), out))
        return self.add("MatMulIntegerToFloat", operands, out, domain="com.microsoft")

    def _dynamic_lstm(self, x: str, out: int) -> str:
        """An LSTM that quantises its input and its states by their range in the run."""
        d, vector, name = self.number(1, 2), self.draw(st.booleans()), self.fresh("lstm")
        shape, number = ((d, 4 * out) if vector else (d,)), self._rng.integers
        # ONNX Runtime takes no zero points of columns but zeros.
        dtype = np.int8 if vector else self.draw(st.sampled_from([np.int8, np.uint8]))
        zero = 0 if dtype is np.int8 else MOST
        weights = [
            self.stored(f"{name}.{k}", zero + number(-MOST, MOST + 1, (d, rows, 4 * out)), dtype)
            for k, rows in (("w", self.channels[x]), ("r", out))
        ]
        bias = self.weight(f"{name}.b", d, 8 * out) if self.draw(st.booleans()) else ""
        scales = [
            one
            for k in ("w", "r")
            for one in (
                self.stored(f"{name}.{k}s", 2.0 ** number(-8, -5, shape)),
                self.stored(f"{name}.{k}z", np.full(shape, zero), dtype),
            )
        ]
        turned = self.add("Transpose", [x], perm=[1, 0, 2])
        way = "bidirectional" if d == 2 else self.draw(st.sampled_from(["forward", "reverse"]))
        operands = [turned, *weights, bias, "", "", "", "", *scales]
        y = self.add("DynamicQuantizeLSTM", operands, d * out, domain="com.microsoft", direction=way, hidden_size=out)
        rows = self.add("Transpose", [y], perm=[2, 0, 1, 3])
        return self.add("Reshape", [rows, self.listed([0, 0, d * out])])
