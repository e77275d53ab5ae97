"""The weights by which states come back are refitted on the units that stay."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from onnx_attnprune import surgery
from onnx_attnprune.graph import Graph
from onnx_attnprune.grouping import alive_of, analyze
from onnx_attnprune.recovery import recover
from onnx_attnprune.recovery.guard import divergence
from onnx_attnprune.recovery.jobs import jobs_of
from tests.oracle import parse
from tests.recovery.helpers import put, run, stored
from tests.recovery.test_least_squares import samples

GONE = (1, 6)


def network(kind: str, gates: int, more: str = "", layout: int = 0) -> ModelProto:
    """Nine units, of which those that will go are copies of the ones behind them, but for what comes back to them."""
    sequence = "t = Transpose <perm = [1, 0, 2]> (x)" if not layout else "t = Identity (x)"
    order = "[2, 0, 1, 3]" if layout == 0 else "[1, 0, 2, 3]"
    back = f"u = Transpose <perm = {order}> (s)" if not layout else "u = Identity (s)"
    model = parse(f"""g (float[N, 7, 3] x) => (float[N, 7, 4] y)
    <float[2, {gates * 9}, 3] w, float[2, {gates * 9}, 9] r, float[2, {gates * 18}] b, float[18, 4] v> {{
        {sequence}
        s = {kind} <hidden_size = 9, layout = {layout}, direction = "bidirectional"{more}> (t, w, r, b)
        {back}
        shape = Constant <value = int64[3] {{0, 0, -1}}> ()
        f = Reshape (u, shape)
        y = MatMul (f, v)
    }}""")
    for name in ("w", "r", "b"):
        numbers = stored(model, name).copy()
        units = numbers.reshape(2, -1, 9, *numbers.shape[2:])  # gates (of input and of state), units
        for unit in GONE:
            units[:, :, unit] = units[:, :, unit + 1]
        put(model, name, 2 * units.reshape(numbers.shape))
    return model


@pytest.mark.parametrize("method", ["mix", "least-squares", "sequential"])
@pytest.mark.parametrize(
    ("kind", "gates", "more"),
    [("LSTM", 4, ""), ("GRU", 3, ", linear_before_reset = 1"), ("RNN", 1, "")],
    ids=["lstm", "gru", "rnn"],
)
def test_units_that_others_tell_are_no_loss(kind: str, gates: int, more: str, method: str) -> None:
    model = network(kind, gates, more)
    analysis = analyze(Graph(model))
    group = next(g for g in analysis.groups if g.size == 9)
    alive = alive_of(analysis.groups, {group.id: GONE})
    plain = surgery.prune(analysis, alive)
    found = recover(method, analysis, alive, surgery.prune(analysis, alive), samples(model, 512))
    assert (found.compensated, found.consumers) == (2, 2), found.notes
    onnx.checker.check_model(found.model, full_check=True)
    feeds = dict(samples(model, 16, seed=9).runs[0])
    original = run(model, feeds)
    before, after = (divergence([original], [run(m, feeds)]) for m in (plain, found.model))
    assert before > 0.01
    assert after < 1e-3 * before


def test_a_state_that_passes_a_gate_before_its_weight_is_left_as_it_is() -> None:
    model = network("GRU", 3)
    analysis = analyze(Graph(model))
    group = next(g for g in analysis.groups if g.size == 9)
    jobs, notes = jobs_of(analysis, alive_of(analysis.groups, {group.id: GONE}))
    assert [job.consumer.node.op for job in jobs] == ["MatMul"]
    assert len(notes) == 1
    assert "its state passes a gate before the weight" in notes[0]


def test_states_lie_by_direction_in_either_layout() -> None:
    for layout, order in ((0, (0, 2, 1, 3)), (1, ())):
        analysis = analyze(Graph(network("LSTM", 4, layout=layout)))
        group = next(g for g in analysis.groups if g.size == 9)
        (job,) = (j for j in jobs_of(analysis, alive_of(analysis.groups, {group.id: GONE}))[0] if j.consumer.returns)
        assert (job.view.groups, job.view.channels, job.view.order) == (2, 18, order)
        np.testing.assert_array_equal(np.flatnonzero(~job.kept[0]), GONE)
        assert job.weight.shape == (2, 9, 36)
