"""Inputs of a model, concrete shapes and random arrays."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import parser

from onnx_attnprune.errors import ModelError, SettingsError
from onnx_attnprune.evaluate.feeds import (
    InputSpec,
    concrete_shapes,
    free_batches,
    input_specs,
    is_float,
    random_feeds,
    shapes_text,
    with_batch,
)


def spec(name: str, *shape: int | str | None, dtype: str = "float32") -> InputSpec:
    return InputSpec(name, np.dtype(dtype), shape)


def parse(inputs: str) -> onnx.ModelProto:
    return parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> g ({inputs}) => (float[1] y) {{y = F(a)}}')


def test_input_specs_reads_types_and_sizes() -> None:
    model = parse("float[N, 3, 224, 224] image, int64[?, length] ids, bool flag, bfloat16[2] b, string[1] s, float[] u")
    model.graph.input.append(onnx.helper.make_tensor_value_info("old", 1, [-1, 4]))
    assert input_specs(model) == (
        spec("image", "N", 3, 224, 224),
        spec("ids", None, "length", dtype="int64"),
        InputSpec("flag", np.dtype(bool), ()),
        InputSpec("b", np.dtype(ml_dtypes.bfloat16), (2,)),
        InputSpec("s", np.dtype(object), (1,)),
        InputSpec("u", np.dtype("float32"), None),
        spec("old", None, 4),
    )


def test_initializers_among_the_inputs_are_left_out() -> None:
    model = parse("float[1] a, float[3] w")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(3, np.float32), "w"))
    assert [one.name for one in input_specs(model)] == ["a"]


def test_inputs_that_are_no_tensors_are_refused() -> None:
    with pytest.raises(ModelError, match="input a is no tensor but sequence_type"):
        input_specs(parse("seq(float[1]) a"))
    strange = parse("float[1] a")
    strange.graph.input[0].type.tensor_type.elem_type = 999
    with pytest.raises(ModelError, match="input a has the unknown element type 999"):
        input_specs(strange)


@pytest.mark.parametrize(
    ("stated", "shape"),
    [
        ((None, None, None, None), (2, 3, 224, 224)),
        ((1, 1, 28, 28), (1, 1, 28, 28)),
        ((None, 4, None, 32), (2, 4, 224, 32)),
        ((None, None, None, 3), (2, 224, 224, 3)),  # channels last
        ((None, 5, None, 3), (2, 5, 224, 3)),
        ((None, None, None, None, None), (2, 3, 16, 112, 112)),
        ((None, None, None, None, 1), (2, 16, 112, 112, 1)),
        ((None, None, None), (2, 16, 16)),
        ((None,), (2,)),
        ((), ()),
        ((None,) * 6, (2, 16, 16, 16, 16, 16)),
    ],
)
def test_free_sizes_get_usual_values(stated: tuple[int | None, ...], shape: tuple[int, ...]) -> None:
    assert concrete_shapes([spec("x", *stated)], {}) == {"x": shape}


def test_equal_names_get_equal_values() -> None:
    specs = [spec("ids", "batch", "length"), spec("image", "batch", 3, "length", "length"), spec("z", "length")]
    assert concrete_shapes(specs, {}) == {"ids": (2, 16), "image": (2, 3, 16, 16), "z": (16,)}


def test_overrides_bind_names_for_the_inputs_before_them_too() -> None:
    specs = [spec("ids", "batch", "length"), spec("mask", "batch", "length")]
    assert concrete_shapes(specs, {"mask": (5, 7)}) == {"ids": (5, 7), "mask": (5, 7)}


def test_an_override_may_state_an_unknown_rank() -> None:
    unknown = InputSpec("x", np.dtype("float32"), None)
    assert concrete_shapes([unknown], {"x": (4, 9)}) == {"x": (4, 9)}
    with pytest.raises(SettingsError, match="does not state the shape of input x"):
        concrete_shapes([unknown], {})


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ({"z": (1,)}, "no input z; it has: x, y"),
        ({"x": (1, 3)}, "shape 1x3 for input x: the model has 3 dimensions Nx3x\\?"),
        ({"x": (1, 4, 5)}, "the model fixes Nx3x"),
        ({"x": (0, 3, 5)}, "at least 1"),
        ({"x": (2, 3, 5), "y": (3,)}, "N is 2 and 3 at once"),
    ],
)
def test_overrides_are_checked(overrides: dict[str, tuple[int, ...]], reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        concrete_shapes([spec("x", "N", 3, None), spec("y", "N")], overrides)


def test_random_feeds_by_type() -> None:
    dtypes = ["float32", "float64", "float16", "int64", "int8", "uint8", "bool"]
    specs = [spec(name, None, dtype=name) for name in dtypes]
    specs += [spec("attention_MASK", None, dtype="int32"), InputSpec("b", np.dtype(ml_dtypes.bfloat16), (None,))]
    feeds = random_feeds(specs, {one.name: (500,) for one in specs}, seed=1)
    for one in specs:
        assert (feeds[one.name].dtype, feeds[one.name].shape) == (one.dtype, (500,))
    for name in ("float32", "float64", "float16", "b"):
        values = feeds[name].astype(np.float64)
        assert abs(values.mean()) < 0.2
        assert abs(values.std() - 1) < 0.1
    for name in ("int64", "int8", "uint8"):
        assert (feeds[name].min(), feeds[name].max()) == (0, 100)
    assert feeds["bool"].all()
    assert (feeds["attention_MASK"] == 1).all()


def test_equal_seeds_give_equal_arrays() -> None:
    specs, shapes = [spec("x", 3), spec("y", 3)], {"x": (3,), "y": (3,)}
    one, two, other = (random_feeds(specs, shapes, seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one["x"], two["x"])
    assert not np.array_equal(one["x"], other["x"])
    assert not np.array_equal(one["x"], one["y"])


def test_scalars_are_arrays() -> None:
    feeds = random_feeds([spec("x"), spec("n", dtype="int64")], {"x": (), "n": ()}, 0)
    assert all(isinstance(array, np.ndarray) and array.shape == () for array in feeds.values())


@pytest.mark.parametrize(("dtype", "kind"), [("object", "strings"), ("complex64", "complex64")])
def test_no_random_strings(dtype: str, kind: str) -> None:
    with pytest.raises(ModelError, match=f"input x takes {kind}"):
        random_feeds([spec("x", 1, dtype=dtype)], {"x": (1,)}, 0)


def test_is_float() -> None:
    floats = ["float16", "float32", "float64", ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn]
    assert all(is_float(np.dtype(one)) for one in floats)
    assert not any(is_float(np.dtype(one)) for one in ["int64", "uint8", "bool", "complex64", object, ml_dtypes.int4])


# ---------------------------------------------------------------- batches
def test_free_batches_are_those_nobody_asked_for() -> None:
    specs = (spec("a", "N", 3), spec("b", None, 4), spec("c", 5, "N"), spec("d", "M"), spec("e"))
    assert free_batches(specs, {}) == ("a", "b", "d")
    assert free_batches(specs, {"b": (7, 4)}) == ("a", "d")
    assert free_batches(specs, {"c": (5, 7)}) == ("b", "d")  # which says what N is
    assert free_batches((InputSpec("f", np.dtype(np.float32), None),), {}) == ()


def test_a_batch_reaches_everything_of_its_name() -> None:
    specs = (spec("a", "N", 3), spec("b", None, 4), spec("c", 5, "N"), spec("d", "M"), spec("e"))
    shapes = {"a": (2, 3), "b": (2, 4), "c": (5, 2), "d": (2,), "e": ()}
    assert with_batch(specs, shapes, ("a", "b"), 1) == {"a": (1, 3), "b": (1, 4), "c": (5, 1), "d": (2,), "e": ()}
    assert with_batch(specs, shapes, (), 1) == shapes
    unknown = (InputSpec("f", np.dtype(np.float32), None),)
    assert with_batch(unknown, {"f": (2, 3)}, (), 1) == {"f": (2, 3)}


def test_shapes_for_people() -> None:
    assert shapes_text({"x": (1, 3, 224, 224)}) == "1x3x224x224"
    assert shapes_text({"ids": (1, 16), "t": ()}) == "ids 1x16, t ()"
