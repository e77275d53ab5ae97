"""The oracle of the tests: graphs from text, and `pruned == masked` in ONNX Runtime for random masks.

A graph is written in ONNX's text form. A name that is declared between `<` and `>` without values, and that no node
makes, becomes a random initializer: zero-mean and scaled by its fan-in, or between 0.5 and 1.5 where the name starts
with "var".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx.checker
import onnx.parser
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from onnx_attnprune import surgery
from onnx_attnprune.axes import leaves
from onnx_attnprune.errors import ModelError
from onnx_attnprune.evaluate.feeds import concrete_shapes, input_specs, random_feeds
from onnx_attnprune.graph import folded
from onnx_attnprune.grouping import UNSEEN, Analysis, alive_of, analyze
from onnx_attnprune.runtime import Optimisation, Session

Array = np.ndarray[Any, Any]
Feeds = dict[str, Array]
Masks = dict[int, Array]
# Of the largest reference value; small graphs, so that rounding stays far under it.
TOLERANCE = {"float64": 1e-12, "float32": 1e-5, "float16": 5e-3, "bfloat16": 4e-2}
IMAGE = "float[N, 3, 9, 7] x"


def parse(text: str, opset: int = 21, seed: int = 0, imports: str = "") -> ModelProto:
    """A model from the text of its graph, with random weights; checked as strictly as the pruned one will be."""
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : {opset}{imports}]>\n{text}')
    fill(model, seed)
    onnx.checker.check_model(model, full_check=True)
    return model


def fill(model: ModelProto, seed: int) -> None:
    """Turn what is declared but made by no node into random initializers."""
    rng, graph = np.random.default_rng(seed), model.graph
    made = {name for node in graph.node for name in node.output}
    for value in [v for v in graph.value_info if v.name not in made]:
        tensor = value.type.tensor_type
        dims = [d.dim_value for d in tensor.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        graph.initializer.append(numpy_helper.from_array(_values(rng, value.name, dims).astype(dtype), value.name))
        graph.value_info.remove(value)


def _values(rng: np.random.Generator, name: str, dims: Sequence[int]) -> Array:
    if name.startswith("var"):
        return rng.uniform(0.5, 1.5, dims)
    fan = int(np.prod(dims[1:])) if len(dims) > 1 else 1
    values: Array = np.asarray(rng.standard_normal(dims)) / np.sqrt(max(fan, 1))
    return values


def net(
    body: str, weights: str = "", *, opset: int = 21, x: str = IMAGE, y: str = "float[A, B, C, D] y",
    w: str = "float[5, 4, 1, 1] w",
    v: str = "float[2, 5, 1, 1] v", head: str = "p = Conv (x, w0) h = Conv (p, w, b)", tail: str = "y = Conv (t, v)",
) -> ModelProto:  # fmt: skip  # one line a piece of the graph
    """x -> Conv w0 (4 channels) -> Conv w, b (5 channels) = h -> the body, which makes t -> Conv v -> y."""
    declared = ", ".join(part for part in ("float[4, 3, 1, 1] w0", w, "float[5] b", v, weights) if part)
    return parse(f"g ({x}) => ({y})\n<{declared}>\n{{ {head} {body} {tail} }}", opset)


def versions(op: str, oldest: int = 7) -> list[int]:
    """Every opset from 7 on with which a definition of an operator came, and 7 itself where there is an older one."""
    newest = onnx.defs.onnx_opset_version()
    found = {onnx.defs.get_schema(op, v, "").since_version for v in range(oldest, newest + 1) if _defined(op, v)}
    return sorted({max(v, oldest) for v in found})


def _defined(op: str, version: int) -> bool:
    try:
        return not onnx.defs.get_schema(op, version, "").deprecated
    except onnx.defs.SchemaError:
        return False


def each(*ops: str, oldest: int = 7) -> list[tuple[str, int]]:
    """Operators with each of their versions."""
    return [(op, version) for op in ops for version in versions(op, oldest)]


# ---------------------------------------------------------------- running
class Runner:
    """Runs one family of models alike: in ONNX Runtime, or where that lacks the original's operators in onnx itself."""

    def __init__(self, original: ModelProto) -> None:
        self.by_reference = False
        try:
            Session(original, optimisation=Optimisation.NONE, threads=1)
        except ModelError as error:
            if not any(
                w in str(error)
                for w in ("NOT_IMPLEMENTED", "not find an implementation", "Opset", "opset", "layout_ == 0")
            ):
                raise
            self.by_reference = True

    def run(self, model: ModelProto, feeds: Feeds) -> Feeds:
        """The outputs by name."""
        if self.by_reference:
            names = [o.name for o in model.graph.output]
            return dict(zip(names, map(np.asarray, ReferenceEvaluator(model).run(None, feeds)), strict=True))
        return Session(model, optimisation=Optimisation.NONE, threads=1).run(feeds)

    def shapes(self, model: ModelProto, names: Sequence[str], feeds: Feeds) -> dict[str, tuple[int, ...]]:
        """The shapes of inner tensors in a run."""
        copy = ModelProto()
        copy.CopyFrom(model)
        del copy.graph.output[:]
        for name in names:
            copy.graph.output.add().name = name
        return {name: np.shape(array) for name, array in self.run(copy, feeds).items()}


def distance(one: Feeds, other: Feeds) -> float:
    """The largest difference over the largest value of `one`, of the worst output."""
    worst = 0.0
    for name, a in one.items():
        b = other[name]
        assert (a.shape, a.dtype) == (b.shape, b.dtype), f"{name}: {a.dtype}{a.shape} became {b.dtype}{b.shape}"
        if not a.size:
            continue
        a64, b64 = a.astype(np.float64), b.astype(np.float64)
        assert np.isfinite([*a64.flat, *b64.flat]).all(), f"{name}: not finite"
        worst = max(worst, float(np.abs(a64 - b64).max() / max(np.abs(a64).max(), 1e-30)))
    return worst


def random_masks(analysis: Analysis, seed: int) -> Masks:
    """Masks that leave at least one channel of each group; seed 0 leaves one alone, the next cut some groups only.

    Nor do they empty a tensor, which a Gather of a few channels of a group would allow: such groups stay whole.
    """
    rng, removed = np.random.default_rng(seed), {}
    listed = analysis.groups
    certain = int(rng.integers(len(listed)))
    for k, group in enumerate(listed):
        if seed and k != certain and rng.random() < 0.4:
            continue
        count = group.size - 1 if seed == 0 else int(rng.integers(1, group.size))
        removed[group.id] = sorted(rng.permutation(group.size)[:count].tolist())
    alive = alive_of(listed, removed)
    for tensor in analysis.tensors.values():
        for axis in tensor.axes or ():
            if axis.size and analysis.space.size(axis, alive) == 0:
                for var in leaves(analysis.space.find(axis)):
                    alive.pop(var.id, None)
    return alive


def feeds_of(model: ModelProto, shapes: Mapping[str, tuple[int, ...]], seed: int) -> Feeds:
    """Random inputs of the shapes that the analysis was told."""
    specs = input_specs(model)
    return random_feeds(specs, concrete_shapes(specs, shapes), seed)


def default_shapes(model: ModelProto) -> dict[str, tuple[int, ...]]:
    """Each input's shape, with 2 for a free first size and 6 for any other."""
    return {
        spec.name: tuple(d if isinstance(d, int) else (6 if k else 2) for k, d in enumerate(spec.shape or ()))
        for spec in input_specs(model)
    }


# ---------------------------------------------------------------- the check
def assert_exact(
    model: ModelProto,
    groups: Mapping[str, int] | None = None,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    tolerance: float | None = None,
    runs: type[Runner] = Runner,
) -> Analysis:
    """Assert that the groups are as stated (name -> size) and that for random masks pruned equals masked.

    Also that the original is untouched, that the pruned model is a valid one with the same interface, and that its
    outputs are not simply those of the original.
    """
    before = model.SerializeToString(deterministic=True)
    shapes = default_shapes(model) if shapes is None else dict(shapes)
    analysis = analyzed(model, groups, shapes)
    assert analysis.groups, told(analysis)
    runner, feeds = runs(model), feeds_of(model, shapes, 1)
    assert_shapes(analysis, runner, feeds)
    reference = runner.run(model, feeds)
    moved = max(distance(reference, pruned_as_masked(analysis, seed, runner, feeds, tolerance)) for seed in seeds)
    assert moved > 20 * _limit(model, reference), "the cut changes nothing, so that the test proves nothing"
    assert model.SerializeToString(deterministic=True) == before, "the original was changed"
    return analysis


def pruned_as_masked(
    analysis: Analysis, seed: int, runner: Runner, feeds: Feeds, tolerance: float | None = None
) -> Feeds:
    """The outputs after a random cut; asserts that they are the masked model's, and that the pruned model
    is in order."""
    model, alive = analysis.graph.model, random_masks(analysis, seed)
    pruned, masked = surgery.prune(analysis, alive), surgery.mask(analysis, alive)
    assert_same_interface(model, pruned)
    onnx.checker.check_model(pruned, full_check=True)
    assert weight(pruned) < weight(model) or not alive
    want, got = runner.run(masked, feeds), runner.run(pruned, feeds)
    off = distance(want, got)
    assert off <= max(_limit(model, want), tolerance or 0.0), (
        f"seed {seed}: off by {off:.3g} with {said(analysis, alive)}\n{told(analysis)}"
    )
    return got


def analyzed(
    model: ModelProto, groups: Mapping[str, int] | None = None, shapes: Mapping[str, tuple[int, ...]] | None = None
) -> Analysis:
    """The analysis; asserts that the groups are as stated (name -> size)."""
    analysis = analyze(folded(model), default_shapes(model) if shapes is None else shapes)
    if groups is not None:
        assert {g.name: g.size for g in analysis.groups} == dict(groups), told(analysis)
    return analysis


def assert_shapes(analysis: Analysis, runner: Runner, feeds: Feeds) -> None:
    """Assert that every tensor has in a run the shape that the analysis says it has, but for sizes that it
    leaves open."""
    stated, outer = {}, {o for n in analysis.graph.model.graph.node for o in n.output if o}  # not those of bodies
    for node, effect in analysis.effects:
        for name, tensor in zip(node.outputs, effect.outputs, strict=False):
            if name in outer and tensor.axes is not None:
                unseen = [any(v.size == UNSEEN for v in leaves(analysis.space.find(a))) for a in tensor.axes]
                stated[name] = tuple(UNSEEN if u else a.size for a, u in zip(tensor.axes, unseen, strict=True))
    found = runner.shapes(analysis.graph.model, list(stated), feeds)
    for name, sizes in stated.items():
        known = tuple(f if s == UNSEEN else s for s, f in zip(sizes, found[name], strict=True))
        assert known == found[name], f"{name} is of {found[name]}, not {sizes}"


def _limit(model: ModelProto, outputs: Feeds) -> float:
    stored = {helper.tensor_dtype_to_np_dtype(t.data_type).name for t in model.graph.initializer}
    names = {a.dtype.name for a in outputs.values()} | stored
    return max((TOLERANCE[n] for n in names if n in TOLERANCE), default=1e-5)


def assert_same_interface(one: ModelProto, other: ModelProto) -> None:
    """Inputs that must be fed, and outputs, are the same in name, type and shape."""
    for side in ("input", "output"):
        stored = {t.name for t in one.graph.initializer}
        assert [v for v in getattr(one.graph, side) if v.name not in stored] == [
            v for v in getattr(other.graph, side) if v.name not in stored
        ]


def weight(model: ModelProto) -> int:
    """Stored floating-point and integer numbers, those of Constant nodes included."""
    tensors: list[TensorProto] = list(model.graph.initializer)
    tensors += [a.t for n in model.graph.node for a in n.attribute if a.name == "value" and n.op_type == "Constant"]
    return sum(int(np.prod(t.dims, dtype=np.int64)) for t in tensors if t.data_type not in (6, 7))


def kept(analysis: Analysis) -> dict[tuple[str, int], tuple[str, str]]:
    """The kept axes: (tensor, axis) -> (operator, reason)."""
    return {(k.tensor, k.axis): (k.op, k.why) for k in analysis.kept}


def assert_kept(analysis: Analysis, tensor: str, axis: int, op: str, why: str) -> None:
    """An axis of a weight is kept because of an operator, for a reason that contains `why`."""
    found = kept(analysis).get((tensor, axis))
    assert found is not None, told(analysis)
    assert found[0] == op, (found, told(analysis))
    assert why in found[1], (found, told(analysis))


def told(analysis: Analysis) -> str:
    """The analysis in text, for a failed test and for the golden files."""
    lines = []
    for g in analysis.groups:
        lines.append(f"{g.name}: {g.size} channels")
        lines += [f"    {m.slot.tensor}[{m.axis}] {m.role}" for m in g.members]
    lines += [f"kept {k.tensor}[{k.axis}] ({k.size}): {k.why} ({f'{k.op} {k.node}'.strip()})" for k in analysis.kept]
    return "\n".join(lines)


def said(analysis: Analysis, alive: Masks) -> dict[str, list[int]]:
    """Masks as the removed channels of each group."""
    return {g.name: np.flatnonzero(~alive[g.var.id]).tolist() for g in analysis.groups if g.var.id in alive}


def cut(analysis: Analysis, **removed: Sequence[int]) -> ModelProto:
    """The pruned model, from the removed channels by the group's name."""
    by_name = {g.name: g.id for g in analysis.groups}
    return surgery.prune(analysis, alive_of(analysis.groups, {by_name[n]: r for n, r in removed.items()}))


def stored(model: ModelProto) -> dict[str, Array]:
    """The initializers by name."""
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
