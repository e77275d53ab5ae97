"""Which channels go: by each budget, within each bound."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_attnprune.errors import NothingToPruneError, SettingsError
from onnx_attnprune.graph import Graph
from onnx_attnprune.grouping import Analysis, analyze
from onnx_attnprune.planning import Settings, choose, removed_by
from onnx_attnprune.planning.select import below, emptied
from onnx_attnprune.scoring import Scores, score
from tests.oracle import parse
from tests.small import cnn


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return analyze(Graph(cnn()))


def counts(analysis: Analysis, **settings: object) -> list[int]:
    removed = choose(analysis, Settings(**settings)).removed  # type: ignore[arg-type]  # checked by Settings
    return [len(removed.get(g.id, ())) for g in analysis.groups]


def test_a_ratio_takes_the_lowest_of_every_group(analysis: Analysis) -> None:
    choice = choose(analysis, Settings(ratio=0.25))
    for group in analysis.groups:
        removed, scores = list(choice.removed[group.id]), choice.scores[group.id]
        assert len(removed) == group.size // 4
        assert removed == sorted(removed)
        assert scores[removed].max() < np.delete(scores, removed).min()


def test_counts_come_in_multiples(analysis: Analysis) -> None:
    assert counts(analysis, ratio=0.3, round_to=8) == [4, 12]
    assert counts(analysis, ratio=0.3, round_to=1) == [6, 11]


def test_global_takes_the_lowest_of_all(analysis: Analysis) -> None:
    choice = choose(analysis, Settings(ratio=0.25, scope="global", criterion="l2"))
    assert sum(map(len, choice.removed.values())) == 14
    comparable = score(analysis, "l2").comparable
    gone = np.concatenate([comparable[k][list(v)] for k, v in choice.removed.items()])
    left = np.concatenate([np.delete(comparable[g.id], choice.removed.get(g.id, ())) for g in analysis.groups])
    assert gone.max() <= left.min()


def test_global_leaves_each_group_its_floor(analysis: Analysis) -> None:
    assert counts(analysis, ratio=0.9, scope="global") == [18, 32]
    assert counts(analysis, ratio=0.9, scope="global", max_ratio=0.5) == [10, 18]
    assert counts(analysis, ratio=0.9, scope="global", min_channels=8, max_ratio=0.95) == [12, 28]


def test_threshold(analysis: Analysis) -> None:
    scores = score(analysis, "attention").normalized
    expected = [int((scores[g.id] < 0.4).sum()) for g in analysis.groups]
    assert counts(analysis, ratio=None, threshold=0.4) == expected
    assert 0 < expected[0] < 18
    assert counts(analysis, ratio=None, threshold=1.0) == [18, 32]  # all but the best, but for the cap of 0.9


def test_top_k_is_the_mean_of_the_k_best(analysis: Analysis) -> None:
    scores = np.array([0.1, 0.9, 0.5, 0.3, 0.7])
    assert below(scores, Settings(ratio=None, top_k=1)) == 4
    assert below(scores, Settings(ratio=None, top_k=2)) == 4  # 0.8
    assert below(scores, Settings(ratio=None, top_k=4)) == 3  # 0.6
    assert below(scores, Settings(ratio=None, top_k=99)) == 2  # 0.5, which is not below itself


def test_layer_ratio_goes_before_every_budget(analysis: Analysis) -> None:
    own = (("w1", 0.5),)
    assert counts(analysis, ratio=0.25, layer_ratios=own) == [10, 9]
    assert counts(analysis, ratio=0.25, scope="global", layer_ratios=own) == [10, 9]
    assert counts(analysis, ratio=None, threshold=0.01, layer_ratios=own) == [10, 1]
    assert counts(analysis, ratio=0.25, layer_ratios=(("w1", 0.0),)) == [0, 9]
    assert counts(analysis, ratio=0.25, layer_ratios=(("b*", 0.5), ("b2", 0.1))) == [10, 4]  # the last one that matches


def test_bounds(analysis: Analysis) -> None:
    assert counts(analysis, ratio=0.9, min_channels=11) == [9, 25]
    assert counts(analysis, ratio=0.9, max_ratio=0.5) == [10, 18]
    assert counts(analysis, ratio=0.95) == [19, 34]
    assert counts(analysis, ratio=0.25, include=("w1",), exclude=("b2",)) == [5, 0]


def test_stages_end_where_one_stage_does_in_number(analysis: Analysis) -> None:
    for settings in ({"ratio": 0.5, "round_to": 8}, {"ratio": None, "threshold": 0.5}, {"ratio": None, "top_k": 15}):
        assert counts(analysis, steps=4, **settings) == counts(analysis, **settings)


def test_stages_score_what_is_left(analysis: Analysis, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def spy(analysis: Analysis, criterion: str, alive: dict[int, np.ndarray], *rest: object) -> object:
        seen.append(sum(int((~mask).sum()) for mask in alive.values()))
        return score(analysis, criterion, alive, *rest)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr("onnx_attnprune.planning.select.score", spy)
    told: list[str] = []
    choice = choose(analysis, Settings(ratio=0.5, steps=3), told.append)
    assert seen == sorted(set(seen))
    assert seen[0] == 0
    assert len(seen) == 3
    assert sum(map(len, choice.removed.values())) == 28
    assert told == ["scoring, stage 1 of 3", "scoring, stage 2 of 3", "scoring, stage 3 of 3"]


def test_nothing_to_prune(analysis: Analysis) -> None:
    with pytest.raises(NothingToPruneError, match="no channel group that can be pruned; for one, w"):
        choose(
            analyze(Graph(parse("g (float[N, 3] x) => (float[N, 5] y) <float[3, 5] w> { y = MatMul (x, w) }"))),
            Settings(),
        )
    with pytest.raises(NothingToPruneError, match=r"largest group has 36 channels\); try --round-to 1"):
        choose(analysis, Settings(ratio=0.3, round_to=64))
    with pytest.raises(NothingToPruneError, match=r"every channel in place \(the largest group has 36 channels\)$"):
        choose(analysis, Settings(ratio=0.3, min_channels=40))
    with pytest.raises(NothingToPruneError, match="leave no group"):
        choose(analysis, Settings(include=("w1",), exclude=("b?",)))
    with pytest.raises(SettingsError, match="--layer-ratio 'nix'"):
        choose(analysis, Settings(layer_ratios=(("nix", 0.5),)))


def test_notes_say_what_rounding_left_whole(analysis: Analysis) -> None:
    (note,) = choose(analysis, Settings(ratio=0.3, round_to=32)).notes
    assert note == "left whole by rounding to multiples of 32 (--round-to 1 cuts them): w1"


def test_notes_say_what_could_not_be_scored(analysis: Analysis) -> None:
    (note,) = choose(analysis, Settings(criterion="bn-scale")).notes
    assert note == "scored by l2, for lack of what bn-scale goes by: w1, w2"


PICKED = """g (float[N, 3, 4, 5] x) => (float[N, 2, 4, 5] y, float[N, 6, 4, 5] z)
<float[9, 3, 1, 1] w, float[2, 3, 1, 1] v, float[6, 9, 1, 1] u>
{ h = Conv (x, w)
  which = Constant <value = int64[3] {7, 2, 4}> ()
  s = Gather <axis = 1> (h, which)
  y = Conv (s, v)
  z = Conv (h, u) }"""


def test_no_tensor_is_left_without_channels() -> None:
    analysis = analyze(Graph(parse(PICKED)))
    (group,) = analysis.groups
    assert group.size == 9
    assert emptied(analysis, {group.id: (2, 4, 7)}) == {group.id}
    assert not emptied(analysis, {group.id: (2, 4)})


def test_a_choice_gives_back_what_would_leave_a_tensor_without_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    analysis = analyze(Graph(parse(PICKED)))
    lowest = np.array([0.9, 0.8, 0.1, 0.7, 0.0, 0.6, 0.5, 0.2, 1.0])
    monkeypatch.setattr("onnx_attnprune.planning.select.score", lambda *_: Scores("l2", {0: lowest}, {0: lowest}))
    assert choose(analysis, Settings(ratio=0.2)).removed == {0: (2, 4)}
    with pytest.raises(NothingToPruneError):
        choose(analysis, Settings(ratio=0.3))


def test_notes_say_what_is_spared() -> None:
    text = """g (float[N, 4] x) => (float[N, 3] y) <float[4, 6] a, float[6, 5] w, float[5, 3] v>
    { h = MatMul (x, a) k = MatMul (h, w) q = Mul (k, k) m = ReduceMean <axes = [-1], keepdims = 1> (q)
      t = Mul (k, m) y = MatMul (t, v) }"""
    analysis = analyze(Graph(parse(text, 13)))
    note = "left whole, since a norm runs over it (--include by this name cuts it): w"
    assert choose(analysis, Settings()).notes == (note,)
    assert choose(analysis, Settings(include=("w",))).notes == ()
    with pytest.raises(NothingToPruneError, match="no group to prune; left whole, since a norm"):
        choose(analysis, Settings(exclude=("a",)))


def test_an_operator_without_a_rule_is_the_reason_of_all_others() -> None:
    """What it makes has no known shape, so that a larger layer behind it is kept for that."""
    model = cnn()
    model.graph.node[0].domain = "com.microsoft.nchwc"
    model.graph.node[0].name = "first"
    with pytest.raises(NothingToPruneError, match=r"for one, no rule for com.microsoft.nchwc.Conv \(first\); `onnx-"):
        choose(analyze(Graph(model)), Settings())


# Five heads of four, of which two are read, in another order.
TWO_HEADS = """g (float[N,6] x) => (float[N,3] y)
<float[6,20] w, int64[3] grid = {0, 5, 4}, int64[2] which = {3, 1}, int64[2] flat = {0, -1}, float[8,3] v>
{ h = MatMul (x, w) g = Reshape (h, grid) p = Gather <axis = 1> (g, which) f = Reshape (p, flat) y = MatMul (f, v) }"""


def test_only_groups_with_removals_can_have_emptied_a_tensor() -> None:
    """Of heads and their width only the heads have lost some: those that are read."""
    found = analyze(Graph(parse(TWO_HEADS)))
    heads = next(g.id for g in found.groups if g.size == 5)
    assert sorted(g.size for g in found.groups) == [4, 5]
    assert emptied(found, {heads: (1, 3)}) == {heads}
    assert emptied(found, {heads: (0, 2, 3, 4)}) == set()


def test_a_budget_empties_no_tensor() -> None:
    found = analyze(Graph(parse(TWO_HEADS)))
    heads = next(g.id for g in found.groups if g.size == 5)
    assert removed_by(found, {heads: 3}, {heads: np.array([2.0, 0.0, 3.0, 1.0, 4.0])}) == {}
    assert removed_by(found, {heads: 3}, {heads: np.array([2.0, 0.0, 3.0, 5.0, 4.0])}) == {heads: (0, 1)}
