"""Removals that change how sums round, and those that leave every bit in its place."""

from __future__ import annotations

import pytest
from onnx import ModelProto

from onnx_attnprune.errors import ModelError
from onnx_attnprune.evaluate import rounding
from onnx_attnprune.evaluate.rounding import rounding_groups
from onnx_attnprune.graph import Graph
from onnx_attnprune.grouping import analyze
from tests.oracle import parse

# Of two terms one is left, which any kernel gives as it is; six hundred are added up in blocks and vectors.
DENSE = """g (float[4, 5] x) => (float[4, 7] y) <float[5, 2] w1, float[2, 600] w2, float[600, 7] w3>
{ a = MatMul (x, w1)
  r = Relu (a)
  b = MatMul (r, w2)
  s = Relu (b)
  y = MatMul (s, w3) }"""

# Heads of two channels: the products of queries and keys add up what no weight has silenced.
ATTENTION = """g (float[3, 5] x) => (float[3, 3] y) <float[5, 2] wq, float[5, 2] wk>
{ q = MatMul (x, wq)
  k = MatMul (x, wk)
  t = Transpose <perm = [1, 0]> (k)
  y = MatMul (q, t) }"""

# The weight stands behind another node; two terms, of which one is left.
BEHIND = """g (float[4, 5] x) => (float[4, 7] y) <float[5, 2] w1, float[7, 2] w2>
{ a = MatMul (x, w1)
  t = Transpose <perm = [1, 0]> (w2)
  y = MatMul (a, t) }"""


def found(model: ModelProto, *removed: int) -> set[str]:
    """The names of the groups that make sums round anew, where each group loses so many of its channels."""
    analysis = analyze(Graph(model))
    gone = {g.id: range(count) for g, count in zip(analysis.groups, removed, strict=True) if count}
    ids = rounding_groups(analysis, gone)
    return {g.name for g in analysis.groups if g.id in ids}


def test_what_is_added_up_in_blocks_rounds_anew_without_some_of_it() -> None:
    assert found(parse(DENSE), 1, 200) == {"w2"}


def test_channels_that_a_node_makes_are_not_to_blame_for_how_it_adds_up_others() -> None:
    text = DENSE.replace("[5, 2] w1, float[2, 600] w2, float[600, 7]", "[5, 600] w1, float[600, 2] w2, float[2, 7]")
    assert found(parse(text), 200, 1) == {"w1"}


def test_nothing_changes_where_nothing_goes() -> None:
    assert found(parse(DENSE), 0, 0) == set()
    assert found(parse(DENSE), 1, 0) == set()


def test_what_no_weight_silences_is_zero_in_the_masked_model() -> None:
    assert found(parse(ATTENTION), 1) == set()


def test_a_weight_behind_another_node_is_the_weight() -> None:
    assert found(parse(BEHIND), 1) == set()


def test_what_cannot_be_run_by_itself_counts_as_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ModelError("no")

    monkeypatch.setattr(rounding, "Session", refuse)
    assert found(parse(DENSE), 1, 0) == {"w1"}


def test_a_node_that_reads_lengths_is_not_run_on_random_numbers() -> None:
    text = """g (float[3, 2, 5] x, int32[2] lengths) => (float[3, 2, 4] z)
    <float[1, 28, 5] w, float[1, 28, 7] r, float[1, 56] b, float[7, 4] v, int64[1] one = {1}>
    { y = LSTM <hidden_size = 7> (x, w, r, b, lengths)
      s = Squeeze (y, one)
      z = MatMul (s, v) }"""
    assert found(parse(text), 6) == set()  # one term is left behind it, and its states are not looked at
