"""The criteria by name: what each of them says, its normalisation, rescoring and fallbacks."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_attnprune.errors import SettingsError
from onnx_attnprune.grouping import Analysis, alive_of
from onnx_attnprune.scoring import CRITERIA, DEFAULT, Samples, Scores, criterion, score

from .test_blocks import CHAIN, chain, filled, ragged, received

PLAIN = """<ir_version: 8, opset_import: ["": 17]>
g (float[N,3] x) => (float[N,4] y) <float[5,3] w1, float[5] b1, float[4,5] w2> {
  a = Gemm<transB = 1>(x, w1, b1)  b = Relu(a)  y = Gemm<transB = 1>(b, w2)
}"""
FORK = """<ir_version: 8, opset_import: ["": 17]>
g (float[N,3] x) => (float[N,4] y, float[N,6] z) <float[5,3] w1, float[4,5] w2, float[6,5] w3> {
  a = Gemm<transB = 1>(x, w1)  b = Relu(a)  y = Gemm<transB = 1>(b, w2)  z = Gemm<transB = 1>(b, w3)
}"""


def only(scores: Scores) -> np.ndarray:
    (found,) = scores.comparable.values()
    return found


def group(analysis: Analysis, size: int) -> int:
    return next(g.id for g in analysis.groups if g.size == size)


def over_mean(values: np.ndarray) -> np.ndarray:
    return values / values.mean()


def test_there_are_the_promised_criteria():
    assert {"attention", "attention-literal", "l1", "l2", "bn-scale", "random"} <= set(CRITERIA)
    assert DEFAULT == "attention"


@pytest.mark.parametrize("name", list(CRITERIA))
def test_every_criterion_spans_zero_to_one_in_every_group(name: str):
    analysis, _ = chain()
    scores = score(analysis, name)
    assert set(scores.normalized) == {g.id for g in analysis.groups} == set(scores.comparable)
    for g in analysis.groups:
        assert (scores.normalized[g.id].min(), scores.normalized[g.id].max()) == (0, 1)
        assert scores.comparable[g.id].mean() == pytest.approx(1)
        assert (np.argsort(scores.normalized[g.id]) == np.argsort(scores.comparable[g.id])).all()


def test_l1_and_l2_are_norms_of_the_producer():
    analysis, a = filled(PLAIN)
    np.testing.assert_allclose(only(score(analysis, "l1")), over_mean(np.abs(a["w1"]).sum(1)), rtol=1e-5)
    np.testing.assert_allclose(only(score(analysis, "l2")), over_mean(np.linalg.norm(a["w1"], axis=1)), rtol=1e-5)


def test_attention_literal_is_the_formula_shifted():
    analysis, a = filled(PLAIN)
    alpha = np.exp(a["w1"]) / np.exp(a["w1"]).sum(1, keepdims=True)
    raw = (alpha * a["w1"]).sum(1)
    assert raw.min() < 0
    scores = score(analysis, "attention-literal")
    np.testing.assert_allclose(scores.normalized[0], (raw - raw.min()) / np.ptp(raw), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(scores.comparable[0], over_mean(raw - raw.min()), rtol=1e-5, atol=1e-6)


def test_attention_literal_skips_what_a_shorter_row_lacks():
    found = CRITERIA["attention-literal"]([ragged()], np.random.default_rng(0))
    rows = [np.array([3.0, 4]), np.array([1.0, 2, 5, 6])]
    np.testing.assert_allclose(found, [np.exp(r) @ r / np.exp(r).sum() for r in rows], rtol=1e-5)


def test_attention_is_what_the_consumer_attends_to_times_the_strength():
    analysis, a = filled(PLAIN)
    strength = np.linalg.norm(a["w1"], axis=1) ** 0.25
    np.testing.assert_allclose(
        only(score(analysis, "attention")), over_mean(strength * received(a["w2"], 1)), rtol=1e-5
    )


def test_with_batch_norm_gamma_is_the_strength_and_its_sign_does_not_matter():
    analysis, a = chain()
    expected = np.abs(a["gamma"]) * received(a["w2"], 1)
    found = score(analysis, "attention").comparable[group(analysis, 5)]
    np.testing.assert_allclose(found, over_mean(expected), rtol=1e-5)
    assert (a["gamma"] < 0).any()


def test_attention_counts_consumers_alike_whatever_their_scale():
    analysis, a = filled(FORK)
    loud, _ = filled(FORK, w3=a["w3"] * 100)
    np.testing.assert_allclose(only(score(loud, "attention")), only(score(analysis, "attention")), rtol=1e-5)
    mute, _ = filled(FORK, w3=a["w3"] * 0)
    strength = np.linalg.norm(a["w1"], axis=1) ** 0.25
    np.testing.assert_allclose(only(score(mute, "attention")), over_mean(strength * received(a["w2"], 1)), rtol=1e-5)


def test_a_channel_that_nothing_feeds_or_nobody_reads_is_the_least():
    _, a = filled(PLAIN)
    unfed, unread = a["w1"].copy(), a["w2"].copy()
    unfed[3] = 0
    unread[:, 1] = 0
    found = only(score(filled(PLAIN, w1=unfed, w2=unread)[0], "attention"))
    assert found[3] == found[1] == 0
    assert (found[[0, 2, 4]] > 0).all()


def test_bn_scale_is_gamma_and_falls_back_to_l2_where_there_is_none():
    analysis, a = chain()
    scores = score(analysis, "bn-scale")
    np.testing.assert_allclose(scores.comparable[group(analysis, 5)], over_mean(np.abs(a["gamma"])), rtol=1e-5)
    other = group(analysis, 4)
    assert scores.fallbacks == {analysis.groups[other].name: "l2"}
    np.testing.assert_array_equal(scores.comparable[other], score(analysis, "l2").comparable[other])


def test_equal_channels_are_all_worth_one():
    analysis, _ = filled(PLAIN, w1=np.ones((5, 3), np.float32), w2=np.ones((4, 5), np.float32))
    for name in ("attention", "attention-literal", "l1", "l2"):
        scores = score(analysis, name)
        assert scores.normalized[0].tolist() == [1] * 5
        assert scores.comparable[0] == pytest.approx([1] * 5)


def test_random_follows_the_seed():
    analysis, _ = filled(PLAIN)
    first, again, other = (only(score(analysis, "random", seed=s)) for s in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("name", ["attention", "attention-literal", "l1", "l2", "bn-scale"])
def test_rescoring_is_scoring_the_pruned_model(name: str):
    analysis, a = chain()
    kept5, kept4 = [0, 2, 3], [0, 1, 3]
    alive = alive_of(analysis.groups, {group(analysis, 5): [1, 4], group(analysis, 4): [2]})
    again = score(analysis, name, alive)
    positions = a["w3"].reshape(7, 4, 9)[:, kept4].reshape(7, 27)
    small = dict(a, w1=a["w1"][kept5], w2=a["w2"][kept4][:, kept5], w3=positions)
    small |= {k: a[k][kept5] for k in ("gamma", "beta", "mu", "var")}
    text = CHAIN.replace("[5", "[3").replace("float[4,5,", "float[3,3,").replace("[7,36]", "[7,27]")
    fresh_analysis, _ = filled(text, **small)
    fresh = score(fresh_analysis, name)
    for size, kept, tensor in ((5, kept5, "w1"), (4, kept4, "w2")):
        found = again.comparable[group(analysis, size)]
        expected = next(
            fresh.comparable[g.id] for g in fresh_analysis.groups if any(m.slot.tensor == tensor for m in g.members[:1])
        )
        np.testing.assert_allclose(found[kept], expected, rtol=1e-4, atol=1e-6)
        gone = [i for i in range(size) if i not in kept]
        assert np.isneginf(found[gone]).all()
        assert np.isneginf(again.normalized[group(analysis, size)][gone]).all()


def test_an_unknown_criterion_lists_the_known_ones():
    analysis, _ = filled(PLAIN)
    with pytest.raises(SettingsError, match=r"'lotto'.*attention.*bn-scale"):
        score(analysis, "lotto")


def test_a_second_criterion_of_a_name_is_refused():
    with pytest.raises(ValueError, match="already"):
        criterion("l2")(CRITERIA["l1"])


# ---------------------------------------------------------------- criteria that go by samples
def test_errors_on_samples_are_comparable_as_they_are() -> None:
    analysis, _ = filled(CHAIN)
    first, second = analysis.groups
    given = np.linspace(0.1, 0.9, first.size)
    scores = score(analysis, "obs", samples=Samples("tea leaves", lambda name, alive: {first.id: given}))
    np.testing.assert_array_equal(scores.comparable[first.id], given)
    np.testing.assert_allclose(scores.normalized[first.id], np.linspace(0, 1, first.size))
    assert scores.source == "tea leaves"
    # The other group, of which the samples say nothing, is judged by the default.
    assert scores.fallbacks == {second.name: DEFAULT}
    np.testing.assert_array_equal(scores.normalized[second.id], score(analysis, DEFAULT).normalized[second.id])
    np.testing.assert_array_equal(scores.comparable[second.id], scores.normalized[second.id])


def test_what_is_gone_has_no_error() -> None:
    analysis, _ = filled(CHAIN)
    group = analysis.groups[0]
    alive = alive_of(analysis.groups, {group.id: (1,)})
    asked: list[object] = []

    def judge(name: str, left: object) -> dict[int, np.ndarray]:
        asked.append((name, left))
        return {group.id: np.arange(float(group.size))}

    scores = score(analysis, "activation", alive, samples=Samples("x", judge))
    assert scores.comparable[group.id][:3].tolist() == [0, -np.inf, 2]
    assert asked == [("activation", alive)]


def test_a_criterion_that_goes_by_samples_needs_some() -> None:
    analysis, _ = filled(CHAIN)
    with pytest.raises(SettingsError, match="obs goes by samples, and there are none here"):
        score(analysis, "obs")
    with pytest.raises(SettingsError, match=r"choose from: .*random, activation, obs"):
        score(analysis, "lotto")
