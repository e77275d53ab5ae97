"""How many channels groups keep: worked examples, and properties."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnx_attnprune.planning.counts import SLACK, Quota, kept_count, kept_counts


@pytest.mark.parametrize(
    ("size", "ratio", "granule", "kept"),
    [
        (10, 0.3, 1, 7),
        (32, 0.3, 8, 24),  # 22.4 is as near to 16 as a loss of half of the group, but 24 will do
        (32, 0.3, 16, 16),  # nothing but half or all
        (32, 0.2, 16, 32),  # whole is nearer to 25.6
        (44, 0.5, 16, 32),  # 16 is nearer to 22, but 28 of 44 channels would go
        (20, 0.05, 16, 20),
        (100, 0.3, 16, 64),
        (100, 0.01, 16, 100),  # the whole size is no multiple, and allowed
        (8, 0.5, 16, 8),  # smaller than a granule: whole
        (16, 0.9, 16, 16),
        (2, 0.9, 1, 1),  # never none
        (64, 0.0, 16, 64),
    ],
)
def test_by_hand(size: int, ratio: float, granule: int, kept: int) -> None:
    assert kept_count(Quota(size, ratio * size, granule)) == kept


def test_what_is_owed_moves_the_choice_within_bounds() -> None:
    quota = Quota(100, 30, 4)
    assert kept_count(quota) == 72
    assert kept_count(quota, -6) == 64
    assert kept_count(quota, -50) == 60  # a tenth below 70 and no further
    assert kept_count(quota, 50) == 80


def test_a_floor_is_kept() -> None:
    assert kept_count(Quota(20, 15, least=9)) == 9
    assert kept_count(Quota(20, 15, granule=8, least=9)) == 16
    assert kept_count(Quota(20, 15, granule=8, least=17)) == 20


def test_what_is_gone_stays_gone() -> None:
    assert kept_count(Quota(20, 4, gone=6)) == 14
    assert kept_count(Quota(20, 4, granule=8, gone=2)) == 16
    assert kept_count(Quota(20, 0, granule=8, gone=2)) == 16
    assert kept_count(Quota(20, 1, granule=16, least=17, gone=2)) == 18  # no multiple is left above the floor


def test_small_groups_are_paid_for_by_large_ones() -> None:
    small, large = Quota(16, 4.8, 16), Quota(512, 153.6, 16)
    assert kept_counts([large, small, small, small, small]) == [336, 16, 16, 16, 16]
    alone = Quota(16, 4.8, 16, shared=False)
    assert kept_counts([large, alone, alone, alone, alone]) == [352, 16, 16, 16, 16]


def test_equal_groups_take_turns() -> None:
    counts = kept_counts([Quota(32, 9.6, 16)] * 10)
    assert set(counts) == {16, 32}
    assert abs(sum(counts) - 224) <= 8


quotas = st.builds(
    lambda size, share, granule, least, gone: Quota(
        size, share * size, granule, max(1, min(size, least)), min(gone, size - max(1, min(size, least)))
    ),
    st.integers(2, 600),
    st.floats(0, 0.99),
    st.sampled_from([1, 2, 4, 8, 12, 16, 32]),
    st.integers(1, 40),
    st.sampled_from([0, 0, 0, 1, 7, 100]),
)


@given(quotas, st.floats(-300, 300))
def test_a_count_is_within_its_bounds(quota: Quota, owed: float) -> None:
    kept = kept_count(quota, owed)
    assert max(1, quota.least) <= kept <= quota.size - quota.gone
    multiples = [n for n in range(quota.granule, quota.size - quota.gone + 1, quota.granule) if n >= quota.least]
    assert kept in multiples or (not quota.gone and kept == quota.size) or not multiples
    asked = quota.size - quota.wanted
    others = [n for n in multiples if n < quota.size and n >= asked - SLACK * quota.size]
    if kept < asked - SLACK * quota.size - 1e-6 and not quota.gone:
        assert not [n for n in others if n < asked + quota.granule], "another multiple would do"
        assert asked - kept <= quota.size - asked + 1e-6


@given(
    st.lists(st.tuples(st.integers(160, 700), st.sampled_from([1, 2, 8, 16])), min_size=1, max_size=12),
    st.floats(0.05, 0.6),
)
def test_the_whole_meets_the_ratio(groups: list[tuple[int, int]], ratio: float) -> None:
    counts = kept_counts([Quota(size, ratio * size, granule) for size, granule in groups])
    asked = sum(size * (1 - ratio) for size, _ in groups)
    assert abs(sum(counts) - asked) <= max(granule for _, granule in groups) / 2 + 1e-6


@given(st.lists(quotas, max_size=8))
def test_exact_counts_of_alone_groups_are_rounded_only(found: list[Quota]) -> None:
    alone = [Quota(q.size, q.wanted, 1, q.least, 0, shared=False) for q in found]
    for quota, kept in zip(alone, kept_counts(alone), strict=True):
        assert kept in {
            max(quota.least, 1, math.floor(quota.size - quota.wanted + 1e-9)),
            max(quota.least, 1, math.ceil(quota.size - quota.wanted - 1e-9)),
        }
