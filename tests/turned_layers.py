"""Random attention over sequences whose queries and keys are turned by their places, or that stays within windows."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.growing import Growing

WINDOW = 3  # two of them in a sequence of tests/sequences.py's length


class TurnedLayers(Growing):
    """Rotary embeddings, and windows with or without a shift. `is_free`: the length of the sequence is."""

    is_free: bool

    def linear(self, x: str, out: int) -> str:
        """A linear layer, as the network that these layers go into makes one."""
        raise NotImplementedError

    def rotary(self, x: str) -> str:
        """Queries and keys turned in pairs: one half of a head's channels by the other, or each by its neighbour."""
        heads, half = self.number(1, 3), self.number(1, 2)
        turn = self.draw(st.sampled_from([self._by_halves, self._by_neighbours]))
        tables = [self.weight(self.fresh(name), 2 * half) for name in ("cos", "sin")]
        width = heads * 2 * half
        q, k = (self._split_heads(self.linear(x, width), heads, 2 * half) for _ in range(2))
        turned = [self._turned(one, turn(one, half), tables) for one in (q, k)]
        keys = self.add("Transpose", turned[1:], perm=[0, 1, 3, 2])
        v = self._split_heads(self.linear(x, width), heads, 2 * half)
        return self.linear(self._attended(turned[0], keys, v, width, [0, 0, width]), self.channels[x])

    def windowed(self, x: str) -> str:
        """Attention within windows of a sequence of fixed length, which may be rolled by one place before and after."""
        if self.is_free:
            return self.rotary(x)
        length, heads, size, shifted = 2 * WINDOW, self.number(1, 3), self.number(1, 3), self.draw(st.booleans())
        width = heads * size
        y = self._rolled(x, 1) if shifted else x
        y = self.add("Reshape", [y, self.listed([-1, WINDOW, self.channels[x]])])
        q, k, v = (self._split_heads(self.linear(y, width), heads, size) for _ in range(3))
        y = self._attended(q, self.add("Transpose", [k], perm=[0, 1, 3, 2]), v, width, [-1, WINDOW, width])
        y = self.linear(y, self.channels[x])
        y = self.add("Reshape", [y, self.listed([-1, length, self.channels[x]])])
        y = self._rolled(y, length - 1) if shifted else y
        return self.add("Add", [x, y]) if self.draw(st.booleans()) else y

    def _split_heads(self, x: str, heads: int, size: int) -> str:
        return self.add("Transpose", [self.add("Reshape", [x, self.listed([0, 0, heads, size])])], perm=[0, 2, 1, 3])

    def _attended(self, q: str, keys: str, v: str, width: int, shape: list[int]) -> str:
        weights = self.add("Softmax", [self.add("MatMul", [q, keys])], axis=-1)
        mixed = self.add("Transpose", [self.add("MatMul", [weights, v])], perm=[0, 2, 1, 3])
        return self.add("Reshape", [mixed, self.listed(shape)], width)

    def _turned(self, x: str, other: str, tables: list[str]) -> str:
        parts = [self.add("Mul", [one, table]) for one, table in zip((x, other), tables, strict=True)]
        return self.add("Add", parts)

    def _by_halves(self, x: str, half: int) -> str:
        first = self._sliced(x, 0, half, -1)
        second = self._sliced(x, half, 2**31, -1)
        return self.add("Concat", [self.add("Neg", [second]), first], axis=-1)

    def _by_neighbours(self, x: str, half: int) -> str:
        pairs = self.add("Unsqueeze", [self._strided(x, 1), self.listed([-1])])
        others = self.add("Unsqueeze", [self._strided(x, 0), self.listed([-1])])
        both = self.add("Concat", [self.add("Neg", [pairs]), others], axis=-1)
        # Length and heads are copied: 0 takes what stands there.
        return self.add("Reshape", [both, self.listed([0, 0, 0, 2 * half])])

    def _sliced(self, x: str, start: int, stop: int, axis: int) -> str:
        return self.add("Slice", [x, self.listed([start]), self.listed([stop]), self.listed([axis])])

    def _strided(self, x: str, start: int) -> str:
        places = [self.listed([start]), self.listed([2**31]), self.listed([-1]), self.listed([2])]
        return self.add("Slice", [x, *places])

    def _rolled(self, x: str, by: int) -> str:
        return self.add("Concat", [self._sliced(x, by, 2**31, 1), self._sliced(x, 0, by, 1)], axis=1)
