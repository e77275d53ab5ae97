"""The inputs of a model, concrete shapes for them, and random arrays of those shapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.errors import ModelError, SettingsError
from onnx_attnprune.graph import SAMPLE_RATE, is_sample_rate, named_size

if TYPE_CHECKING:
    import onnx

Array = NDArray[Any]
Shape = tuple[int, ...]

_FIRST = 2  # of a free first dimension: more than 1, so that a mistake between samples shows
_VIDEO = (_FIRST, 3, 16, 112, 112)
_LARGEST_INTEGER = 100  # of random integers: token ids have to exist in the smallest of vocabularies


@dataclass(frozen=True)
class InputSpec:
    """One input of a model.

    Each entry of `shape` is a fixed size, the name of a free size, or None for a free size without a name; the shape
    is None where the model does not even state the rank. `dtype` is `object` for strings.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | str | None, ...] | None


@dataclass(frozen=True, slots=True)
class Usual:
    """Sizes for free dimensions: height and width of images, the length of a list of numbers or ids (rank 2), and
    whatever else is free."""

    image: int = 224
    length: int = 16
    other: int = 16


USUAL = Usual()
MOST_IDS = 512  # in one list: attention over as many as there are numbers in a second of sound takes gigabytes
# What networks that don't run at those take: states of one sample, frames and seconds of sound, images of other sizes.
OTHERS = (
    *(Usual(length=length, other=other) for length in (16, 512, 16000) for other in (1, 16, 512)),
    Usual(length=3000, other=3000),
    *(Usual(image=size) for size in (32, 64, 256, 299, 320, 384, 512, 640)),
)


def is_float(dtype: np.dtype[Any]) -> bool:
    """Whether `dtype` is a float type; those of ml_dtypes (bfloat16) are not `np.floating`."""
    return np.issubdtype(dtype, np.floating) or "float" in dtype.name


def input_specs(model: onnx.ModelProto) -> tuple[InputSpec, ...]:
    """The inputs that a run has to be fed, in the model's order; initializers that are listed as inputs are left out.

    Raises ModelError for an input that is no tensor (a sequence, a map, an optional).
    """
    initializers = {tensor.name for tensor in model.graph.initializer}
    initializers |= {tensor.values.name for tensor in model.graph.sparse_initializer}
    return tuple(_spec(value) for value in model.graph.input if value.name not in initializers)


def _spec(value: onnx.ValueInfoProto) -> InputSpec:
    from onnx.helper import tensor_dtype_to_np_dtype

    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise ModelError(f"input {value.name} is no tensor but {kind or 'has no type'}")
    tensor = value.type.tensor_type
    try:
        dtype = np.dtype(tensor_dtype_to_np_dtype(tensor.elem_type))
    except KeyError as error:
        raise ModelError(f"input {value.name} has the unknown element type {tensor.elem_type}") from error
    shape = tuple(_size(dim) for dim in tensor.shape.dim) if tensor.HasField("shape") else None
    return InputSpec(value.name, dtype, shape)


def _size(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    # Some exporters write -1 for a free size.
    if dim.HasField("dim_value") and dim.dim_value >= 0:
        return dim.dim_value
    return named_size(dim.dim_param)


def concrete_shapes(
    specs: Sequence[InputSpec], overrides: Mapping[str, Shape], usual: Usual = USUAL
) -> dict[str, Shape]:
    """One shape per input: the overrides, and for every other free size a usual one.

    Equal names of free sizes get equal values, those of the overrides first. A free first size becomes 2, an image
    224 by 224 with 3 channels, a video 16 such frames of 112 by 112, and any other free size 16 (if `usual` says
    nothing else).

    Raises SettingsError for an override of no input, of another rank, against a fixed or an equally named size or
    below 1, and for an input of unknown rank without an override.
    """
    by_name = {spec.name: spec for spec in specs}
    bound: dict[str, int] = {}
    shapes: dict[str, Shape] = {}
    for name, shape in overrides.items():
        if name not in by_name:
            raise SettingsError(f"the model has no input {name}; it has: {', '.join(by_name) or 'none'}")
        _check_override(by_name[name], shape, bound)
        shapes[name] = tuple(shape)
    for spec in specs:
        if spec.name not in shapes:
            shapes[spec.name] = _default_shape(spec, bound, usual)
    return {spec.name: shapes[spec.name] for spec in specs}


def free_batches(specs: Sequence[InputSpec], asked: Mapping[str, Shape]) -> tuple[str, ...]:
    """Names of the inputs whose first size is free, and which nobody asked for: neither it nor one of equal name."""
    fixed = {d for spec in specs if spec.name in asked for d in spec.shape or () if isinstance(d, str)}
    return tuple(
        spec.name
        for spec in specs
        if spec.name not in asked and spec.shape and not isinstance(spec.shape[0], int) and spec.shape[0] not in fixed
    )


def with_batch(
    specs: Sequence[InputSpec], shapes: Mapping[str, Shape], free: Sequence[str], batch: int
) -> dict[str, Shape]:
    """The shapes with another first size of the inputs `free`, and of whatever has a free size of equal name."""
    names = {spec.shape[0] for spec in specs if spec.name in free and spec.shape and isinstance(spec.shape[0], str)}
    changed = {}
    for spec in specs:
        stated = spec.shape or (None,) * len(shapes[spec.name])
        changed[spec.name] = tuple(
            batch if d in names or (k == 0 and spec.name in free) else size
            for k, (d, size) in enumerate(zip(stated, shapes[spec.name], strict=True))
        )
    return changed


def single_shapes(specs: Sequence[InputSpec], asked: Mapping[str, Shape]) -> dict[str, Shape]:
    """As `concrete_shapes`, with a single sample where the batch is free. Raises SettingsError."""
    return with_batch(specs, concrete_shapes(specs, asked), free_batches(specs, asked), 1)


def other_shapes(specs: Sequence[InputSpec], asked: Mapping[str, Shape]) -> Iterator[dict[str, Shape]]:
    """Shapes of a single sample with other sizes for free dimensions than the usual ones, each once, simpler first.

    Raises SettingsError as `concrete_shapes` does.
    """
    free, seen = free_batches(specs, asked), [single_shapes(specs, asked)]
    for usual in OTHERS:
        shapes = with_batch(specs, concrete_shapes(specs, asked, usual), free, 1)
        if shapes not in seen:
            seen.append(shapes)
            yield shapes


def shapes_text(shapes: Mapping[str, Shape]) -> str:
    """Shapes for people: "1x3x224x224", with names where there are several."""
    if len(shapes) == 1:
        return _text(next(iter(shapes.values())))
    return ", ".join(f"{name} {_text(shape)}" for name, shape in shapes.items())


def _check_override(spec: InputSpec, shape: Shape, bound: dict[str, int]) -> None:
    """Compares an override with what the model states, and notes in `bound` what it says of the named sizes."""
    told = f"shape {_text(shape)} for input {spec.name}"
    if any(size < 1 for size in shape):
        raise SettingsError(f"{told}: every size must be at least 1")
    if spec.shape is None:
        return
    if len(shape) != len(spec.shape):
        raise SettingsError(f"{told}: the model has {len(spec.shape)} dimensions {_text(spec.shape)}")
    for stated, size in zip(spec.shape, shape, strict=True):
        if isinstance(stated, int) and stated != size:
            raise SettingsError(f"{told}: the model fixes {_text(spec.shape)}")
        if isinstance(stated, str) and bound.setdefault(stated, size) != size:
            raise SettingsError(f"{told}: {stated} is {bound[stated]} and {size} at once")


def _default_shape(spec: InputSpec, bound: dict[str, int], usual: Usual) -> Shape:
    if spec.shape is None:
        raise SettingsError(
            f"the model does not state the shape of input {spec.name}: give it one (--shape {spec.name}=1x3x64x64)"
        )
    sizes = []
    for stated, size in zip(spec.shape, _usual_sizes(spec, spec.shape, usual), strict=True):
        if isinstance(stated, str):
            sizes.append(bound.setdefault(stated, size))
        else:
            sizes.append(size if stated is None else stated)
    return tuple(sizes)


def _usual_sizes(spec: InputSpec, stated: tuple[int | str | None, ...], usual: Usual) -> Shape:
    rank = len(stated)
    image = (_FIRST, 3, usual.image, usual.image)
    length = usual.length if is_float(spec.dtype) else min(usual.length, MOST_IDS)
    rest = length if rank == 2 else usual.other
    sizes = {4: image, 5: _VIDEO}.get(rank, (_FIRST, *[rest] * (rank - 1))[:rank])
    channels_last = rank in (4, 5) and stated[-1] in (1, 3, 4) and not isinstance(stated[1], int)
    return (sizes[0], *sizes[2:], sizes[1]) if channels_last else sizes


def _text(shape: Sequence[int | str | None]) -> str:
    return "x".join("?" if size is None else str(size) for size in shape) or "()"


def random_feeds(
    specs: Sequence[InputSpec], shapes: Mapping[str, Shape], seed: int, limits: Mapping[str, int] | None = None
) -> dict[str, Array]:
    """An array of the input's type and of `shapes[name]` for each input; equal seeds give equal arrays.

    Floats are standard normal, integers 0 to 100 (what the type holds of it), booleans true; an integer input with
    "mask" in its name is all ones, one that is named after a sample rate is 16,000, and one in `limits` stays below
    what is given there (the rows of the table that it reads). Raises ModelError for strings and other types that have
    no sensible random value.
    """
    rng = np.random.default_rng(seed)
    tops = {name: limit - 1 for name, limit in (limits or {}).items()}
    return {s.name: _random(s, shapes[s.name], rng, tops.get(s.name, _LARGEST_INTEGER)) for s in specs}


def _random(spec: InputSpec, shape: Shape, rng: np.random.Generator, highest: int) -> Array:
    if is_float(spec.dtype):
        return np.asarray(rng.standard_normal(shape)).astype(spec.dtype)
    if spec.dtype == np.bool_:
        return np.ones(shape, dtype=np.bool_)
    if np.issubdtype(spec.dtype, np.integer):
        if "mask" in spec.name.lower():
            return np.ones(shape, dtype=spec.dtype)
        if is_sample_rate(spec.name) and np.iinfo(spec.dtype).max >= SAMPLE_RATE:
            return np.full(shape, SAMPLE_RATE, spec.dtype)
        top = min(highest, _LARGEST_INTEGER, int(np.iinfo(spec.dtype).max))
        return np.asarray(rng.integers(0, top, size=shape, endpoint=True)).astype(spec.dtype)
    kind = "strings" if spec.dtype == np.object_ else spec.dtype.name
    raise ModelError(f"input {spec.name} takes {kind}: there are no random values for it")
