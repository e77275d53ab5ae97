"""How an image becomes the input of a network: said by the user, and completed from the input's shape."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from onnx_attnprune.errors import SettingsError
from onnx_attnprune.evaluate.feeds import InputSpec, is_float

KEYS = ("size", "resize", "crop", "range", "mean", "std", "layout", "channels", "resample", "labels")
CROPS = ("center", "none")
LAYOUTS = ("nchw", "nhwc")
CHANNELS: Mapping[str, int] = MappingProxyType({"rgb": 3, "bgr": 3, "gray": 1})
RESAMPLES = ("bilinear", "bicubic", "nearest", "box", "lanczos")
USUAL_SIZE = 224  # where the model leaves it free


@dataclass(frozen=True, slots=True)
class Preprocess:
    """An image as an array, in this order: resize, crop, pixels from 0..255 to `low`..`high`, minus mean, over std.

    size: height and width of the result. resize: what the shorter side is brought to before `crop` "center" takes the
    middle; with "none" the image is stretched to `size`. mean, std: one number, or one a channel, in the order of
    `channels`. layout: where the channels stand.
    """

    size: tuple[int, int]
    resize: int
    crop: str
    low: float
    high: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    layout: str
    channels: str
    resample: str

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of one image as the network takes it."""
        count = CHANNELS[self.channels]
        return (count, *self.size) if self.layout == "nchw" else (*self.size, count)

    def __str__(self) -> str:
        """As `--preprocess` takes it."""
        parts = [f"size={self.size[0]}x{self.size[1]}", f"crop={self.crop}"]
        if self.crop == "center":
            parts.insert(1, f"resize={self.resize}")
        parts.append(f"range={self.low:g}..{self.high:g}")
        parts += [f"{key}={_numbers(values)}" for key, values in (("mean", self.mean), ("std", self.std))]
        return ",".join([*parts, f"layout={self.layout}", f"channels={self.channels}", f"resample={self.resample}"])


def parse(text: str) -> dict[str, str]:
    """`key=value,key=value` as a dict. Raises SettingsError for another form, unknown keys, and keys given twice."""
    found: dict[str, str] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        key, equals, value = (s.strip() for s in part.partition("="))
        if not equals or not value:
            raise SettingsError(f"--preprocess: {part!r} is not of the form key=value")
        if key not in KEYS:
            raise SettingsError(f"--preprocess: no key is called {key!r}; choose from: {', '.join(KEYS)}")
        if key in found:
            raise SettingsError(f"--preprocess: {key} is given twice")
        found[key] = value
    return found


def preprocess_for(given: Mapping[str, str], spec: InputSpec) -> Preprocess:
    """What `given` says, and what it leaves out from the input that the images are for.

    Left out, the layout and the channels are those of the input's shape, the size too (224 where it is free), the
    middle is cropped after the shorter side was brought to that size, pixels lie in 0..1 (0..255 for an integer
    input), the mean is 0 and the standard deviation 1. Raises SettingsError for values that make no sense, or that the
    input's shape contradicts.
    """
    layout = _choice(given, "layout", LAYOUTS, _layout(spec))
    height, width, depth = _sizes(spec, layout)
    channels = _choice(given, "channels", tuple(CHANNELS), "gray" if depth == 1 else "rgb")
    size = _size(given["size"]) if "size" in given else _stated(height, width)
    low, high = _range(given.get("range", "0..1" if is_float(spec.dtype) else "0..255"))
    found = Preprocess(
        size=size, resize=_whole("resize", given["resize"]) if "resize" in given else min(size),
        crop=_choice(given, "crop", CROPS, "center"), low=low, high=high,
        mean=_per_channel(given, "mean", 0.0, channels), std=_per_channel(given, "std", 1.0, channels),
        layout=layout, channels=channels, resample=_choice(given, "resample", RESAMPLES, "bilinear"),
    )  # fmt: skip  # some fields a line
    _check(found, given, spec)
    return found


def _check(found: Preprocess, given: Mapping[str, str], spec: InputSpec) -> None:
    if any(s <= 0 for s in found.std):
        raise SettingsError("--preprocess: std must be positive")
    if "resize" in given and found.crop == "none":
        raise SettingsError("--preprocess: resize is for crop=center; crop=none stretches to size")
    if found.crop == "center" and found.resize < max(found.size) and found.size[0] == found.size[1]:
        raise SettingsError(f"--preprocess: resize={found.resize} leaves less than size={found.size[0]} to crop")
    stated = (spec.shape or ())[1:]
    if spec.shape is not None and (
        len(stated) != 3
        or any(isinstance(want, int) and want != have for want, have in zip(stated, found.sample_shape, strict=True))
    ):
        want = ", ".join(str(d) if isinstance(d, int) else "?" for d in stated)
        raise SettingsError(
            f"--preprocess: makes images of shape {list(found.sample_shape)}, but input {spec.name} takes "
            f"[samples, {want}]"
        )
    if not is_float(spec.dtype) and not (
        np.issubdtype(spec.dtype, np.integer) and (found.low, found.high) == (0, 255)
        and set(found.mean) == {0.0} and set(found.std) == {1.0}
    ):  # fmt: skip  # what goes together stands together
        raise SettingsError(
            f"--preprocess: input {spec.name} takes {spec.dtype.name}: only range=0..255 without mean and std fits"
        )


def _layout(spec: InputSpec) -> str:
    shape = spec.shape or ()
    last = len(shape) == 4 and shape[-1] in (1, 3) and shape[1] not in (1, 3)
    return "nhwc" if last else "nchw"


def _sizes(spec: InputSpec, layout: str) -> tuple[int | None, int | None, int | None]:
    """Height, width and channels that the input fixes."""
    shape = spec.shape or ()
    if len(shape) != 4:
        return None, None, None
    fixed = [d if isinstance(d, int) else None for d in shape[1:]]
    depth = fixed.pop(0 if layout == "nchw" else 2)
    return fixed[0], fixed[1], depth


def _stated(height: int | None, width: int | None) -> tuple[int, int]:
    one = height or width or USUAL_SIZE
    return height or one, width or one


def _choice(given: Mapping[str, str], key: str, known: tuple[str, ...], default: str) -> str:
    value = given.get(key, default).lower()
    if value not in known:
        raise SettingsError(f"--preprocess: {key}={value} is not one of {', '.join(known)}")
    return value


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    return _whole("size", height), _whole("size", width or height)


def _whole(key: str, text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise SettingsError(f"--preprocess: {key}={text} is no positive number of pixels")
    return int(text)


def _range(text: str) -> tuple[float, float]:
    low, dots, high = text.partition("..")
    if not dots:
        raise SettingsError(f"--preprocess: range={text} is not of the form 0..1")
    ends = _number("range", low), _number("range", high)
    if ends[0] >= ends[1]:
        raise SettingsError(f"--preprocess: range={text} is empty")
    return ends


def _per_channel(given: Mapping[str, str], key: str, default: float, channels: str) -> tuple[float, ...]:
    if key not in given:
        return (default,)
    found = tuple(_number(key, part) for part in given[key].split("/"))
    if len(found) not in (1, CHANNELS[channels]):
        raise SettingsError(f"--preprocess: {key} has {len(found)} numbers for {CHANNELS[channels]} channels")
    return found


def _number(key: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise SettingsError(f"--preprocess: {key}: {text!r} is no number")
    return value


def _numbers(values: tuple[float, ...]) -> str:
    return "/".join(f"{v:g}" for v in values)
