"""Folders of images: pixels worked out by hand, classes from folders and from files, images that are none."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from onnx_attnprune.errors import DataError, SettingsError
from onnx_attnprune.evaluate import images
from onnx_attnprune.evaluate.data import Dataset, batches
from onnx_attnprune.evaluate.feeds import InputSpec
from onnx_attnprune.evaluate.images import load_images
from onnx_attnprune.evaluate.preprocess import parse

RGB = InputSpec("image", np.dtype("float32"), ("N", 3, 4, 2))
GRAY = InputSpec("image", np.dtype("float32"), ("N", 1, 4, 2))


def pixels(seed: int = 0, height: int = 4, width: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def put(folder: Path, name: str, array: np.ndarray) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def load(folder: Path, text: str = "", spec: InputSpec = RGB, labelled: bool = False) -> Dataset:
    return load_images(folder, parse(text), [spec], labelled=labelled)


def array(found: Dataset) -> np.ndarray:
    return np.asarray(found.feeds["image"])


def test_pixels_in_both_layouts(tmp_path: Path) -> None:
    put(tmp_path, "b.png", pixels(1))
    put(tmp_path, "a.png", pixels(0))
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".hidden.png").write_text("no image")
    found = load(tmp_path)
    assert (found.size, found.feeds["image"].shape, found.labels) == (2, (2, 3, 4, 2), None)
    assert "range=0..1" in found.about
    for k in (0, 1):
        np.testing.assert_allclose(array(found)[k], pixels(k).transpose(2, 0, 1) / 255, atol=1e-6)
    last = load(tmp_path, "layout=nhwc", InputSpec("image", np.dtype("float32"), ("N", None, None, 3)))
    assert last.feeds["image"].shape == (2, 224, 224, 3)
    last = load(tmp_path, "", InputSpec("image", np.dtype("uint8"), ("N", 4, 2, 3)))
    np.testing.assert_array_equal(array(last)[0], pixels(0))
    assert array(last).dtype == np.uint8


def test_range_mean_std_and_order_of_channels(tmp_path: Path) -> None:
    put(tmp_path, "a.png", pixels())
    found = array(load(tmp_path, "channels=bgr,range=-1..3,mean=1/2/3,std=2/4/8"))[0]
    expected = (pixels()[..., ::-1].astype(np.float64) / 255 * 4 - 1 - [1, 2, 3]) / [2, 4, 8]
    np.testing.assert_allclose(found, expected.transpose(2, 0, 1), atol=1e-6)


def test_gray_and_transparent_images(tmp_path: Path) -> None:
    put(tmp_path, "a.png", np.full((4, 2), 51, np.uint8))
    put(tmp_path, "b.png", np.full((4, 2, 4), 51, np.uint8))
    np.testing.assert_allclose(array(load(tmp_path)), 0.2, atol=1e-6)
    np.testing.assert_allclose(array(load(tmp_path, spec=GRAY)), 0.2, atol=1e-6)


def test_the_middle_is_cropped(tmp_path: Path) -> None:
    big = np.zeros((12, 6, 3), np.uint8)
    big[4:8, 2:4] = 255
    put(tmp_path, "a.png", big)
    assert array(load(tmp_path, "resize=6")).min() == 1  # the shorter side is 6 already: nothing is resized
    stretched = array(load(tmp_path, "crop=none"))[0]
    assert stretched.min() < 0.1
    assert stretched.max() < 1
    wide = np.zeros((2, 40, 3), np.uint8)
    put(tmp_path, "b.png", wide)  # lower than the crop: it is enlarged until it covers it
    assert array(load(tmp_path))[1].shape == (3, 4, 2)


def test_photographs_stand_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    path = tmp_path / "a.png"
    Image.fromarray(pixels(height=2, width=4)).save(path, exif=exif)
    upright = np.rot90(pixels(height=2, width=4), -1).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(array(load(tmp_path))[0], upright, atol=1e-6)


def test_batches_are_decoded_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for k in range(5):
        put(tmp_path, f"{k}.png", pixels(k))
    decoded: list[str] = []
    plain = images.decoded

    def spy(path: Path, how: Any) -> np.ndarray:
        decoded.append(path.name)
        return plain(path, how)

    monkeypatch.setattr(images, "decoded", spy)
    found = load(tmp_path)
    first = next(batches(found, 2))
    assert decoded == ["0.png", "1.png"]
    np.testing.assert_array_equal(first.feeds["image"], array(found)[:2])
    assert len(decoded) == 5  # what was decoded before is kept
    np.testing.assert_array_equal(array(found.part(slice(1, None, 2))), array(found)[1::2])
    assert found.part(slice(1, None, 2)).size == 2
    monkeypatch.setattr(images, "CACHE_BYTES", 50)  # room for two of 24 bytes
    decoded.clear()
    other = load(tmp_path)
    array(other), array(other)
    assert len(decoded) == 5 + 3


def test_bfloat16(tmp_path: Path) -> None:
    import ml_dtypes

    put(tmp_path, "a.png", pixels())
    found = load(tmp_path, spec=InputSpec("image", np.dtype(ml_dtypes.bfloat16), ("N", 3, 4, 2)))
    assert array(found).dtype == ml_dtypes.bfloat16
    assert array(found.in_float32()).dtype == np.float32


# ---------------------------------------------------------------- classes
def folders(folder: Path, names: Sequence[str]) -> None:
    for k, name in enumerate(names):
        put(folder, f"{name}/x{k}.png", pixels(k))


def labels(found: Dataset) -> list[int]:
    assert found.labels is not None
    return found.labels.tolist()  # type: ignore[no-any-return]  # numpy knows no better


def test_classes_are_sorted_folders(tmp_path: Path) -> None:
    folders(tmp_path, ["cat", "Ant", "bee/deep"])
    assert labels(load(tmp_path, labelled=True)) == [0, 1, 2]  # Ant, bee, cat: the order of their paths
    folders(tmp_path, ["n01", "n02"])
    assert labels(load(tmp_path, labelled=True)) == [0, 1, 2, 3, 4]


def test_a_file_orders_the_folders(tmp_path: Path) -> None:
    folders(tmp_path / "val", ["cat", "ant", "sea bee"])
    order = tmp_path / "classes.txt"
    order.write_text("sea bee\nunused\n\ncat\nant\n")
    assert labels(load(tmp_path / "val", f"labels={order}", labelled=True)) == [3, 2, 0]
    order.write_text("cat\nant\n")
    with pytest.raises(DataError, match=r"x2.png: lies in sea bee, which .*classes.txt does not name"):
        load(tmp_path / "val", f"labels={order}", labelled=True)
    order.write_text("cat\ncat\n")
    with pytest.raises(DataError, match="named twice"):
        load(tmp_path / "val", f"labels={order}", labelled=True)


def test_a_file_says_the_class_of_each_image(tmp_path: Path) -> None:
    for name in ("val/a.png", "val/b c.png"):
        put(tmp_path, name, pixels())
    table = tmp_path / "table.csv"
    table.write_text("b c.png,7\na.png 3\nelsewhere.png,1\n")
    assert labels(load(tmp_path / "val", f"labels={table}", labelled=True)) == [3, 7]
    table.write_text("a.png,3\n")
    with pytest.raises(DataError, match=r"says no class for b c.png \(1 of 2 images\)"):
        load(tmp_path / "val", f"labels={table}", labelled=True)


def test_folders_that_leave_the_order_open(tmp_path: Path) -> None:
    folders(tmp_path, [str(k) for k in range(11)])
    with pytest.raises(DataError, match=r"numbers that sort otherwise as text \(0, 1, 10, …\)"):
        load(tmp_path, labelled=True)
    assert load(tmp_path).labels is None


def test_what_is_no_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no images"):
        load(tmp_path)
    put(tmp_path, "a.png", pixels())
    with pytest.raises(DataError, match=r"a.png lies in no sub-folder that says its class"):
        load(tmp_path, labelled=True)
    with pytest.raises(DataError, match=r"none.txt: can't be read: No such file"):
        load(tmp_path, f"labels={tmp_path / 'none.txt'}", labelled=True)
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(DataError, match="is empty"):
        load(tmp_path, f"labels={tmp_path / 'empty.txt'}", labelled=True)
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not a text file"):
        load(tmp_path, f"labels={tmp_path / 'bytes.txt'}", labelled=True)
    with pytest.raises(DataError, match="images are one input, the model has 2: image, other"):
        load_images(tmp_path, {}, [RGB, InputSpec("other", np.dtype("int64"), ("N",))], labelled=False)
    (tmp_path / "b.png").write_text("no image")
    with pytest.raises(DataError, match=r"b.png: not an image that can be read"):
        array(load(tmp_path))


@pytest.mark.parametrize(("mode", "suffix"), [("I;16", "png"), ("I;16", "tif"), ("I", "tif")])
@pytest.mark.parametrize("spec", [RGB, GRAY], ids=["rgb", "gray"])
def test_images_of_16_bits_are_brought_to_8(tmp_path: Path, mode: str, suffix: str, spec: InputSpec) -> None:
    """Pillow would cut them off at 255, and leave a white image."""
    eight = np.arange(0, 256, 32, dtype=np.uint8).reshape(4, 2)
    wide = eight.astype(np.uint16 if mode == "I;16" else np.int32) * 257
    Image.fromarray(wide).save(tmp_path / f"a.{suffix}")
    with Image.open(tmp_path / f"a.{suffix}") as file:
        assert file.mode in (mode, "I;16")
    found = array(load(tmp_path, spec=spec))[0]
    for channel in found:
        np.testing.assert_allclose(channel, eight / 255, atol=1e-6)


@pytest.mark.parametrize("pixels", [np.full((4, 2), 0.5, np.float32), np.full((4, 2), -1, np.int32)])
def test_numbers_whose_range_no_file_tells_are_refused(tmp_path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=f"a.tif: holds pixels of {pixels.dtype.name}, whose range no file tells"):
        array(load(tmp_path))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_images_of_other_modes_are_grey_or_colour(tmp_path: Path, mode: str) -> None:
    grey = np.array([[0, 255], [255, 0], [0, 0], [255, 255]], np.uint8)
    image = Image.fromarray(grey).convert("RGB").convert(mode)
    image.save(tmp_path / "a.tif")
    for spec in (RGB, GRAY):
        for channel in array(load(tmp_path, spec=spec))[0]:
            np.testing.assert_allclose(channel, grey / 255, atol=0.01)


def test_without_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = builtins.__import__

    def refuse(name: str, *more: Any, **options: Any) -> Any:
        if name.startswith("PIL"):
            raise ImportError(name)
        return plain(name, *more, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(SettingsError, match=r"install Pillow: pip install 'onnx-attnprune\[images\]'"):
        load(tmp_path)
