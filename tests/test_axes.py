"""Whatever is tied stays equal: under any masks of the variables, tied axes have the same mask."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_attnprune.axes import ONE, Axis, Pick, Reason, Space, Var, concat, leaves, product
from onnx_attnprune.errors import AxisError


def masks_of(space: Space, axes: list[Axis], seed: int) -> dict[int, np.ndarray]:
    """Random masks of the free variables of these axes, each with at least one channel alive."""
    rng, alive = np.random.default_rng(seed), {}
    for axis in axes:
        for leaf in leaves(space.find(axis)):
            if leaf.id not in alive and not space.is_kept(leaf):
                alive[leaf.id] = rng.random(leaf.size) < 0.6
                alive[leaf.id][rng.integers(leaf.size)] = True
    return alive


def factorings(size: int) -> st.SearchStrategy[list[int]]:
    """Ways to write a size as a product."""
    divisors = [d for d in range(2, size + 1) if size % d == 0]
    if not divisors:
        return st.just([])
    return st.sampled_from(divisors).flatmap(lambda d: factorings(size // d).map(lambda rest: [d, *rest]))


def compositions(size: int) -> st.SearchStrategy[list[int]]:
    """Ways to write a size as a sum."""
    return st.integers(1, size).flatmap(
        lambda d: st.just([d]) if d == size else compositions(size - d).map(lambda rest: [d, *rest])
    )


@st.composite
def trees(draw: st.DrawFn, space: Space, size: int, depth: int = 2) -> Axis:
    """A random tree of the given size over fresh variables."""
    kind = draw(st.sampled_from(["var", "product", "concat", "pick"])) if depth and size > 1 else "var"
    if kind == "product":
        return product([draw(trees(space, d, depth - 1)) for d in draw(factorings(size))])
    if kind == "concat":
        return concat([draw(trees(space, d, depth - 1)) for d in draw(compositions(size))])
    if kind == "pick":
        source = draw(trees(space, draw(st.integers(size, size + 3)), depth - 1))
        return space.pick(source, draw(st.lists(st.integers(0, source.size - 1), min_size=size, max_size=size)))
    return space.var(size)


@st.composite
def tied(draw: st.DrawFn) -> tuple[Space, list[tuple[Axis, Axis]]]:
    """A space after several ties between random trees, some of them over shared variables."""
    space, pairs = Space(), []
    size = draw(st.sampled_from([4, 6, 8, 12, 24, 30]))
    pool = [draw(trees(space, size)) for _ in range(draw(st.integers(2, 4)))]
    for _ in range(draw(st.integers(1, 4))):
        a, b = draw(st.sampled_from(pool)), draw(st.sampled_from(pool))
        pairs.append((a, b))
        space.tie(a, b)
    return space, pairs


@settings(max_examples=400, deadline=None)
@given(tied(), st.integers(0, 1000))
def test_tied_axes_have_the_same_mask(setting: tuple[Space, list[tuple[Axis, Axis]]], seed: int) -> None:
    space, pairs = setting
    alive = masks_of(space, [axis for pair in pairs for axis in pair], seed)
    for a, b in pairs:
        np.testing.assert_array_equal(space.mask(a, alive), space.mask(b, alive))
        assert space.size(a, alive) == int(space.mask(b, alive).sum())


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_split_and_pick_agree_with_numpy(data: st.DataObject) -> None:
    space = Space()
    axis = data.draw(trees(space, data.draw(st.sampled_from([6, 12, 20]))))
    at = data.draw(st.integers(0, axis.size))
    indices = data.draw(st.lists(st.integers(0, axis.size - 1), min_size=1, max_size=10))
    left, right = space.split(axis, at)
    picked = space.pick(axis, indices)
    alive = masks_of(space, [axis, left, right, picked], data.draw(st.integers(0, 1000)))
    whole = space.mask(axis, alive)
    np.testing.assert_array_equal(space.mask(left, alive), whole[:at])
    np.testing.assert_array_equal(space.mask(right, alive), whole[at:])
    np.testing.assert_array_equal(space.mask(picked, alive), whole[indices])


def test_a_reshape_splits_a_variable_into_a_product() -> None:
    space = Space()
    flat, heads, width = space.var(24), space.var(4), space.var(6)
    space.tie(flat, product([heads, width]))
    assert space.find(flat) == product([heads, width])
    alive = {heads.id: np.array([True, False, True, True]), width.id: np.arange(6) < 5}
    assert space.size(flat, alive) == 15
    assert not space.mask(flat, alive)[6:12].any()


def test_channel_shuffle_of_two_halves_couples_them() -> None:
    space = Space()
    one, two, groups, inner = space.var(10), space.var(10), space.var(2), space.var(10)
    space.tie(concat([one, two]), product([groups, inner]))
    assert space.find(one) == space.find(two) == space.find(inner)
    assert space.is_kept(groups)


def test_a_concat_of_an_axis_with_itself_is_one_variable_twice() -> None:
    space = Space()
    x, whole = space.var(5), space.var(10)
    space.tie(whole, concat([x, x]))
    assert space.find(whole) == concat([x, x])


def test_factors_that_do_not_align_are_kept_whole_and_say_so() -> None:
    space = Space()
    a, b, c, d = (space.var(n) for n in (6, 4, 4, 6))
    space.tie(product([a, b]), product([c, d]))
    assert all(space.is_kept(v) for v in (a, b, c, d))
    assert "6x4" in space.reasons(a)[0].why


def test_a_strided_selection_of_a_variable_that_is_later_split() -> None:
    space = Space()
    whole, pairs, sides = space.var(12), space.var(6), space.var(2, Reason("even and odd"))
    even = space.pick(whole, range(0, 12, 2))
    space.tie(whole, product([pairs, sides]))
    assert space.find(even) == pairs


def test_two_selections_of_one_variable_tie_channel_by_channel() -> None:
    space = Space()
    whole = space.var(6)
    space.tie(space.pick(whole, [0, 2, 4]), space.pick(whole, [5, 3, 1]))
    found = space.find(whole)
    assert isinstance(found, Pick)
    assert found.source.size == 3
    assert found.indices[0] == found.indices[5]


def test_keep_reaches_the_parts_of_a_variable_that_is_split_later() -> None:
    space = Space()
    flat = space.var(12)
    why = Reason("softmax", "node_7", "Softmax")
    space.keep(flat, why)
    parts = space.var(3), space.var(4)
    space.tie(flat, product(parts))
    assert all(space.is_kept(p) and space.reasons(p) == (why,) for p in parts)


def test_keep_reaches_what_is_tied_to_it_later() -> None:
    space = Space()
    a, b, c = space.var(7), space.var(7), space.var(7)
    space.tie(a, b)
    space.keep(c, Reason("graph output"))
    space.tie(c, a)
    assert space.is_kept(b)


def test_sizes_that_contradict_raise() -> None:
    space = Space()
    with pytest.raises(AxisError, match="size 3 would have to be one of size 4"):
        space.tie(space.var(3), space.var(4))


def test_a_run_time_size_never_contradicts_but_is_kept() -> None:
    space = Space()
    free, late = space.var(3), space.var(4, dynamic=True)
    space.tie(free, late)
    assert space.is_kept(free)
    assert space.is_kept(late)


def test_size_one_is_nobody_s_variable() -> None:
    space = Space()
    v = space.var(5)
    assert space.var(1) is ONE
    assert product([ONE, v, ONE]) == v
    assert isinstance(v, Var)
