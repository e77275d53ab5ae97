"""Batch norms between which a network is repaired on made-up samples."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto

from onnx_attnprune import surgery
from onnx_attnprune.recovery import Calibration, Limits
from onnx_attnprune.recovery.norms import at_home, norms_of, put, taken_on
from onnx_attnprune.recovery.registry import recover
from tests.oracle import parse
from tests.recovery.helpers import Array, run, stored, without
from tests.recovery.helpers import put as put_one

NORMED = """g (float[N, 3, 9, 7] x) => (float[N, 5, h, w] y)
<float[6, 3, 3, 3] w1, float[6] s1, float[6] b1, float[6] m1, float[6] v1,
 float[4, 6, 1, 1] w2, float[4] s2, float[4] b2, float[4] m2, float[4] v2, float[5, 4, 1, 1] w3> {
    a = Conv (x, w1)
    b = BatchNormalization <epsilon = 0.01> (a, s1, b1, m1, v1)
    c = Relu (b)
    d = Conv (c, w2)
    e = BatchNormalization (d, s2, b2, m2, v2)
    f = Relu (e)
    y = Conv (f, w3)
}"""
NAMES = ("m1", "v1", "m2", "v2")


def normed() -> ModelProto:
    """With statistics of inputs of unit variance."""
    model = parse(NORMED)
    for name in ("v1", "v2"):
        put_one(model, name, np.abs(stored(model, name)) + 0.5)
    inner = parse(NORMED.replace("=> (float[N, 5, h, w] y)", "=> (float[N, 6, i, j] a, float[N, 4, k, l] d)"))
    for first, second, source in (("m1", "v1", "a"), ("m2", "v2", "d")):
        for name in ("w1", "s1", "b1", "w2", *NAMES):
            put_one(inner, name, stored(model, name))
        seen = run(inner, {"x": drawn(512, 1)})[source]
        put_one(model, first, seen.mean((0, 2, 3)))
        put_one(model, second, seen.var((0, 2, 3)))
    return model


def drawn(count: int, seed: int) -> Array:
    """Samples of the training."""
    mixed = np.random.default_rng(seed).standard_normal((count, 3, 9, 7)).astype(np.float32)
    mixed[:, 2] += mixed[:, 0]
    return mixed


def strange(foreign: bool = True) -> Calibration:
    """Samples of another mean and a spread that is larger by far."""
    runs = [{"x": 4 * drawn(32, seed) * np.array([1, 0.2, 0.5], np.float32)[:, None, None] + 3} for seed in range(8)]
    return Calibration(tuple(runs), "strange samples", foreign)


def test_behind_each_norm_made_up_samples_are_spread_like_those_of_the_training() -> None:
    model = normed()
    analysis, _ = without(model, {})
    norms = list(norms_of(analysis))
    assert [n.node.outputs[0] for n in norms] == ["b", "e"]
    other, statistics = taken_on(analysis, norms, strange(), 1 << 30)
    assert set(statistics) == set(NAMES)
    other.graph.output.add().name = "b"
    other.graph.output.add().name = "e"
    found = run(other, {"x": np.concatenate([feeds["x"] for feeds in strange().runs])})
    for name, s, b, v, epsilon in (("b", "s1", "b1", "v1", 0.01), ("e", "s2", "b2", "v2", 1e-5)):
        gamma, variance = stored(model, s), stored(model, v)
        assert found[name].mean((0, 2, 3)) == pytest.approx(stored(model, b), abs=2e-3)
        wanted = np.abs(gamma) * np.sqrt(variance / (variance + epsilon))
        assert found[name].std((0, 2, 3)) == pytest.approx(wanted, rel=5e-3)


def test_a_channel_that_hardly_varies_gets_no_louder_than_ten_times() -> None:
    model = normed()
    put_one(model, "v1", 100 + stored(model, "v1"))
    weight = stored(model, "w1").copy()
    weight[4] *= 1e-4
    put_one(model, "w1", weight)
    analysis, _ = without(model, {})
    _, statistics = taken_on(analysis, list(norms_of(analysis)), strange(), 1 << 30)
    variance = stored(model, "v1")[4]
    assert statistics["v1"][4] + 0.01 == pytest.approx(max(0.01 * (variance + 0.01), 0.01), rel=1e-6)


def test_a_channel_that_was_constant_in_training_stays_so() -> None:
    model = normed()
    variance = stored(model, "v1").copy()
    variance[2] = 0
    put_one(model, "v1", variance)
    analysis, _ = without(model, {})
    other, _ = taken_on(analysis, list(norms_of(analysis)), strange(), 1 << 30)
    other.graph.output.add().name = "b"
    found = run(other, dict(strange().runs[0]))["b"]
    assert found[:, 2].std() < 0.02 * np.abs(stored(model, "s1")[2])


def test_a_repair_on_made_up_samples_is_right_for_those_of_the_training() -> None:
    errors: dict[str, float] = {}
    first: dict[str, str] = {}
    model, x = normed(), drawn(256, 99)
    analysis, alive = without(model, {"w1": [1, 4]})
    reference = run(model, {"x": x})["y"]
    for name, repair in (("plain", recover), ("at home", at_home)):
        found = repair("sequential", analysis, alive, surgery.prune(analysis, alive), strange(), Limits())
        errors[name] = float(((run(found.model, {"x": x})["y"] - reference) ** 2).mean())
        first[name] = found.parts[0][0]
    assert errors["at home"] < 0.8 * errors["plain"]
    assert first == {"plain": "run both networks", "at home": "batch norms"}  # what the time went to first


def test_the_statistics_come_back_behind_the_repair_and_the_model_is_not_touched() -> None:
    model = normed()
    before = model.SerializeToString(deterministic=True)
    analysis, alive = without(model, {"w1": [1, 4]})
    found = at_home("sequential", analysis, alive, surgery.prune(analysis, alive), strange(), Limits()).model
    assert model.SerializeToString(deterministic=True) == before
    left = [0, 2, 3, 5]
    assert np.array_equal(stored(found, "m1"), stored(model, "m1")[left])
    assert np.array_equal(stored(found, "v1"), stored(model, "v1")[left])
    assert np.array_equal(stored(found, "v2"), stored(model, "v2"))


def test_samples_of_the_users_own_are_taken_as_they_are() -> None:
    model = normed()
    analysis, alive = without(model, {"w1": [1, 4]})
    found = [
        repair("sequential", analysis, alive, surgery.prune(analysis, alive), strange(foreign=False), Limits()).model
        for repair in (at_home, recover)
    ]
    assert found[0].SerializeToString(deterministic=True) == found[1].SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    ("old", "new", "left"),
    [
        ("(d, s2, b2, m2, v2)", "(d, s2, b2, b2, v2)", ["b"]),  # as many readers as there are uses, but not of one node
        (
            "    e = BatchNormalization (d, s2, b2, m2, v2)",
            "n = Neg (m2) e = BatchNormalization (d, s2, b2, n, v2)",
            ["b"],
        ),
        (
            "    e = BatchNormalization (d, s2, b2, m2, v2)",
            "n = Abs (v2) e = BatchNormalization (d, s2, b2, m2, n)",
            ["b"],
        ),
        ("BatchNormalization <epsilon = 0.01> (a, s1, b1, m1, v1)", "Identity (a)", ["e"]),
        ("", "", ["b", "e"]),
    ],
)
def test_statistics_that_others_read_or_that_are_computed_stay(old: str, new: str, left: list[str]) -> None:
    model = parse(NORMED.replace(old, new))
    for name in {t.name for t in model.graph.initializer} & {"v1", "v2"}:
        put_one(model, name, np.abs(stored(model, name)))
    assert [n.node.outputs[0] for n in norms_of(without(model, {})[0])] == left


def test_what_is_put_in_a_model_can_be_put_back() -> None:
    model = normed()
    before = put(model, {"m1": np.full(6, 2.0)})
    assert np.array_equal(stored(model, "m1"), np.full(6, 2.0))
    put(model, before)
    assert np.array_equal(stored(model, "m1"), stored(normed(), "m1"))
