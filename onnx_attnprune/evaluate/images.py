"""A folder of images as samples: found, labelled by their folders or a list, and decoded as they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from onnx_attnprune.errors import DataError, SettingsError
from onnx_attnprune.evaluate.data import Array, Dataset
from onnx_attnprune.evaluate.feeds import InputSpec
from onnx_attnprune.evaluate.labels import labels_of
from onnx_attnprune.evaluate.preprocess import Preprocess, preprocess_for
from onnx_attnprune.evaluate.rows import Places, Rows

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
WORD = 65535  # the brightest of 16 bits
CACHE_BYTES = 512 << 20  # of decoded pixels, so that a second pass over a small folder decodes nothing


def load_images(folder: Path, given: Mapping[str, str], specs: Sequence[InputSpec], *, labelled: bool) -> Dataset:
    """The images under `folder`, in the order of their paths; those of a sub-folder are one class.

    given: what the user says of the preprocessing (see `preprocess_for`) and, as `labels`, of a file with labels (see
    `labels_of`). Raises DataError for a folder or an image that does not do, SettingsError for a preprocessing that
    does not, or without Pillow.
    """
    _need_pillow()
    if len(specs) != 1:
        raise DataError(
            f"{folder}: images are one input, the model has {len(specs)}: {', '.join(s.name for s in specs)}"
        )
    (spec,) = specs
    how = preprocess_for(given, spec)
    paths = tuple(_found(folder))
    if not paths:
        raise DataError(f"{folder}: holds no images ({', '.join(sorted(SUFFIXES))})")
    stated = Path(given["labels"]) if "labels" in given else None
    labels = labels_of(folder, paths, stated) if labelled else None
    images = Images(paths, how, np.dtype(spec.dtype), _Cache())
    return Dataset({spec.name: images}, labels, len(paths), str(folder), f"preprocessed by {how}")


def _need_pillow() -> None:
    try:
        import PIL.Image  # noqa: F401  # only to see whether it is there
    except ImportError:
        raise SettingsError("to read images, install Pillow: pip install 'onnx-attnprune[images]'") from None


def _found(folder: Path) -> Iterator[Path]:
    try:
        yield from sorted(
            path
            for path in folder.rglob("*")
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
        )
    except OSError as error:
        raise DataError(f"{folder}: can't be read: {error.strerror}") from None


@dataclass(frozen=True)
class _Cache:
    """Pixels of decoded images by path, up to CACHE_BYTES."""

    pixels: dict[Path, Array] = field(default_factory=dict)

    def put(self, path: Path, pixels: Array) -> None:
        if (len(self.pixels) + 1) * pixels.nbytes <= CACHE_BYTES:  # all are of one size
            self.pixels[path] = pixels


@dataclass(frozen=True)
class Images:
    """Images on the first axis, decoded when an array is made of them; slicing and places give fewer of them."""

    paths: tuple[Path, ...]
    how: Preprocess
    dtype: np.dtype[Any]
    cache: _Cache

    @property
    def shape(self) -> tuple[int, ...]:
        """[images, ...], as the network takes them."""
        return (len(self.paths), *self.how.sample_shape)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, which: slice | Places, /) -> Rows:
        paths = self.paths[which] if isinstance(which, slice) else tuple(self.paths[k] for k in which)
        return Images(paths, self.how, self.dtype, self.cache)

    def astype(self, dtype: Any, /) -> Rows:
        """The same images in another element type."""
        return Images(self.paths, self.how, np.dtype(dtype), self.cache)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        found = np.empty(self.shape, self.dtype)
        for k, path in enumerate(self.paths):
            found[k] = _scaled(self._pixels(path), self.how).astype(self.dtype)
        return found if dtype is None else found.astype(dtype)

    def _pixels(self, path: Path) -> Array:
        known = self.cache.pixels.get(path)
        if known is None:
            known = decoded(path, self.how)
            self.cache.put(path, known)
        return known


def decoded(path: Path, how: Preprocess) -> Array:
    """Pixels of an image [height, width, channels], uint8, resized and cropped. Raises DataError."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as file:
            upright = ImageOps.exif_transpose(file) or file
            image = _eight_bits(upright, path).convert("L" if how.channels == "gray" else "RGB")
            image = _placed(image, how)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not an image that can be read ({' '.join(str(error).split())})") from error
    pixels = np.asarray(image, dtype=np.uint8)
    if how.channels == "bgr":
        pixels = pixels[..., ::-1]
    return np.ascontiguousarray(pixels.reshape(*how.size, -1))


def _eight_bits(image: Image.Image, path: Path) -> Image.Image:
    """An image of 16 bits in 8, which Pillow would cut off at 255 instead. Raises DataError for numbers whose range no
    file tells."""
    from PIL import Image

    if not image.mode.startswith(("I", "F")):
        return image
    pixels = np.asarray(image)
    if image.mode == "F" or pixels.min() < 0 or pixels.max() > WORD:
        raise DataError(
            f"{path}: holds pixels of {pixels.dtype.name}, whose range no file tells: give them as arrays in an .npz"
        )
    return Image.fromarray((pixels // (WORD // 255)).astype(np.uint8))


def _placed(image: Image.Image, how: Preprocess) -> Image.Image:
    """The image at the size that the network takes."""
    from PIL import Image

    method = Image.Resampling[how.resample.upper()]
    height, width = how.size
    if how.crop == "none":
        return image.resize((width, height), method)
    scale = max(how.resize / min(image.size), width / image.width, height / image.height)
    wide, high = max(round(image.width * scale), width), max(round(image.height * scale), height)
    if (wide, high) != image.size:
        image = image.resize((wide, high), method)
    left, top = (wide - width) // 2, (high - height) // 2
    return image.crop((left, top, left + width, top + height))


def _scaled(pixels: Array, how: Preprocess) -> Array:
    """Pixels as the network takes them, in float32."""
    values = pixels.astype(np.float32) * np.float32((how.high - how.low) / 255) + np.float32(how.low)
    values = (values - np.asarray(how.mean, np.float32)) / np.asarray(how.std, np.float32)
    return np.asarray(values.transpose(2, 0, 1) if how.layout == "nchw" else values)
