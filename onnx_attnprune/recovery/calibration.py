"""The samples that a repair may look at: the user's own, or procedural ones where there are none."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.graph import SAMPLE_RATE, ModelProto, as_float32, float_type, is_sample_rate
from onnx_attnprune.recovery.pictures import picture
from onnx_attnprune.recovery.sounds import sounds

Array = NDArray[Any]
UNSEEN = 4  # of so many runs the last is not fitted on, but says whether a fit helps
Feeds = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Calibration:
    """Unlabelled samples, as the feeds of one run after another. `foreign`: not from the model's own domain. `threads`:
    on which criteria and curves run them, 0 for as many as ONNX Runtime likes."""

    runs: tuple[Feeds, ...]
    source: str
    foreign: bool
    threads: int = 0

    @property
    def samples(self) -> int:
        """How many samples all runs hold together."""
        return sum(next((len(a) for a in feeds.values() if a.ndim), 1) for feeds in self.runs)

    @property
    def apart(self) -> tuple[Calibration, Calibration]:
        """Runs to fit on, and others that say what a fit is worth: every fourth. With fewer than four, all for both."""
        if len(self.runs) < UNSEEN:
            return self, self
        judging = self.runs[UNSEEN - 1 :: UNSEEN]
        fitting = tuple(feeds for k, feeds in enumerate(self.runs) if k % UNSEEN != UNSEEN - 1)
        return replace(self, runs=fitting), replace(self, runs=judging)


def runnable(model: ModelProto, runs: Sequence[Feeds]) -> tuple[ModelProto, Sequence[Feeds]]:
    """A model that ONNX Runtime has kernels for on the CPU, and its feeds: bfloat16 as float32."""
    if float_type(model) != "bfloat16":
        return model, runs
    wide = [{n: a.astype(np.float32) if a.dtype.name == "bfloat16" else a for n, a in f.items()} for f in runs]
    return as_float32(model), wide


def in_batches(feeds: Feeds, batch: int, source: str) -> Calibration:
    """The user's samples, on the first axis of every array, `batch` at a time.

    A rest is left out, since a model may take whole batches only (but where there is nothing else).
    """
    size = min((len(a) for a in feeds.values()), default=0)
    stop = size - size % batch if size >= batch else size
    runs = tuple({name: a[k : k + batch] for name, a in feeds.items()} for k in range(0, stop, batch))
    return Calibration(runs, f"{stop} {'sample' if stop == 1 else 'samples'} of {source}", False)


@dataclass(frozen=True, slots=True)
class Range:
    """How pixels are scaled before they reach a network: from [0, 1] by `gain` and `offset`, or each image by its own
    mean and standard deviation (`whitened`)."""

    name: str
    gain: float = 1.0
    offset: float = 0.0
    whitened: bool = False


UNIT, SIGNED, BYTES = Range("[0, 1]"), Range("[-1, 1]", 2.0, -1.0), Range("[0, 255]", 255.0)
WHITENED = Range("zero mean, unit variance", whitened=True)
RANGES = (UNIT, SIGNED, WHITENED, BYTES)


@dataclass(frozen=True, slots=True)
class Inputs:
    """The inputs of a model: the shape of each in one run (a batch of `batch` samples), its type, and for an integer
    input how many rows the table has that it reads. waves: inputs that are sound. states: inputs that are handed back,
    which begin at zero."""

    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, np.dtype[Any]]
    limits: Mapping[str, int]
    batch: int
    waves: frozenset[str] = frozenset()
    states: frozenset[str] = frozenset()


def procedural(inputs: Inputs, samples: int, pixels: Range, seed: int = 0) -> Calibration:
    """Samples made without data: pictures of several kinds in the range `pixels`; 1/f noise along time or features;
    something like speech where an input is sound; random token ids, with masks that end at random places."""
    rng = np.random.default_rng(seed)
    count = max(1, -(-samples // inputs.batch))
    recordings = {name: sounds((count, *inputs.shapes[name]), rng) for name in sorted(inputs.waves)}
    runs = tuple(
        _run(inputs, pixels, k * inputs.batch, rng) | {n: a[k].astype(inputs.dtypes[n]) for n, a in recordings.items()}
        for k in range(count)
    )
    images = any(len(shape) > 3 for shape in inputs.shapes.values())
    told = f"{count * inputs.batch} procedural samples" + (f", images in the range {pixels.name}" if images else "")
    told += ", sound like speech at 16 kHz" if inputs.waves else ""
    return Calibration(runs, told, True)


def _run(inputs: Inputs, pixels: Range, made: int, rng: np.random.Generator) -> dict[str, Array]:
    feeds: dict[str, Array] = {}
    lengths: dict[int, NDArray[np.float64]] = {}  # masks of one run end at the same places
    for name, shape in inputs.shapes.items():
        dtype, first = inputs.dtypes[name], shape[0] if shape else 1
        if name in inputs.states:
            feeds[name] = np.zeros(shape, dtype)
        elif name in inputs.waves:
            continue
        elif is_sample_rate(name) and math.prod(shape) == 1:
            feeds[name] = np.full(shape, SAMPLE_RATE, dtype)
        elif _is_float(dtype):
            feeds[name] = _floats(shape, pixels, made, rng).astype(dtype)
        elif dtype == np.bool_ or "mask" in name.lower():
            ends = lengths.setdefault(first, rng.random(first) * 0.75 + 0.25)
            feeds[name] = _inside(shape, ends).astype(dtype)
        else:
            feeds[name] = rng.integers(0, inputs.limits.get(name, 100), size=shape).astype(dtype)
    return feeds


def in_range(inputs: Inputs, name: str, array: Array, pixels: Range) -> Array:
    """What was made for an input in the range UNIT, in another that is not whitened; other inputs have none."""
    shape, dtype = inputs.shapes[name], inputs.dtypes[name]
    if name in inputs.states | inputs.waves or len(shape) <= 3 or not _is_float(dtype):
        return array
    return np.asarray(array.astype(np.float32) * np.float32(pixels.gain) + np.float32(pixels.offset), dtype)


def _is_float(dtype: np.dtype[Any]) -> bool:
    return bool(np.issubdtype(dtype, np.floating)) or "float" in dtype.name


def _floats(shape: tuple[int, ...], pixels: Range, made: int, rng: np.random.Generator) -> Array:
    if len(shape) > 3:
        return _images(shape, pixels, made, rng)
    return _pink(shape, rng) if len(shape) > 1 else rng.standard_normal(shape)


def _inside(shape: tuple[int, ...], lengths: NDArray[np.float64]) -> NDArray[np.bool_]:
    last = shape[-1] if len(shape) > 1 else 1
    inside = np.arange(last) < np.ceil(lengths * last).reshape(-1, *[1] * (len(shape) - 1))
    return np.broadcast_to(inside, shape)


def _images(shape: tuple[int, ...], pixels: Range, made: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Pictures, behind `made` others: the kinds go on from run to run, also where one holds a single sample."""
    if shape[-1] in (1, 3, 4) and shape[1] > 4:  # channels last, as TensorFlow has them
        pictures = _images((shape[0], shape[-1], *shape[1:-1]), pixels, made, rng)
        return np.ascontiguousarray(np.moveaxis(pictures, 1, -1))
    images = np.empty(shape, np.float32)
    for k in range(shape[0]):
        image = picture(made + k, shape[1:], rng)
        image = (image - image.min()) / (np.ptp(image) + 1e-6)
        if pixels.whitened:
            images[k] = (image - image.mean()) / (image.std() + 1e-6)
        else:  # dark grounds are common in photographs and drawings, and rare in noise
            image = np.maximum(image - rng.uniform(0, 0.6), 0) * rng.uniform(0.5, 1.5)
            images[k] = np.minimum(image, 1) * pixels.gain + pixels.offset
    return images


def _pink(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    """Noise whose amplitude falls with frequency along the last axis, of unit variance."""
    radius = np.abs(np.fft.fftfreq(shape[-1]))
    wave = np.fft.ifft(np.fft.fft(rng.standard_normal(shape)) / np.maximum(radius, 1 / shape[-1])).real
    return np.asarray(wave / (wave.std() + 1e-12))
