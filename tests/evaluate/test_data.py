"""Evaluation data: what is read, what is cast, and a one-line error for everything else."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_attnprune.errors import DataError, SettingsError
from onnx_attnprune.evaluate.data import Dataset, batches, fixed_batch
from onnx_attnprune.evaluate.feeds import InputSpec
from onnx_attnprune.evaluate.npz import load_npz

IMAGE = InputSpec("image", np.dtype("float32"), ("N", 3, None))
IDS = InputSpec("ids", np.dtype("int32"), ("N",))


def images(n: int = 4, dtype: Any = "float32") -> np.ndarray[Any, Any]:
    return np.arange(n * 6).reshape(n, 3, 2).astype(dtype)


def write(folder: Path, **arrays: Any) -> Path:
    path = folder / "data.npz"
    np.savez(path, **arrays)
    return path


def test_reads_inputs_and_labels(tmp_path: Path) -> None:
    path = write(tmp_path, image=images(), ids=np.arange(4, dtype=np.int64), labels=np.array([3, 1, 0, 1], np.uint8))
    dataset = load_npz(str(path), [IMAGE, IDS])
    assert dataset.size == 4
    assert list(dataset.feeds) == ["image", "ids"]
    assert dataset.feeds["ids"].dtype == np.int32
    assert dataset.labels is not None
    assert (dataset.labels.dtype, dataset.labels.tolist()) == (np.dtype(np.int64), [3, 1, 0, 1])
    np.testing.assert_array_equal(dataset.feeds["image"], images())


def test_labels_are_optional_and_may_be_an_input(tmp_path: Path) -> None:
    assert load_npz(write(tmp_path, image=images()), [IMAGE]).labels is None
    dataset = load_npz(write(tmp_path, labels=np.arange(4)), [InputSpec("labels", np.dtype("int64"), ("N",))])
    assert dataset.labels is None
    assert dataset.feeds["labels"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float64", "int64", "bool", ">f4"])
def test_real_types_are_cast_to_floats(dtype: str, tmp_path: Path) -> None:
    feeds = load_npz(write(tmp_path, image=images(dtype=dtype)), [IMAGE]).feeds
    assert feeds["image"].dtype == np.dtype("float32")
    np.testing.assert_array_equal(feeds["image"], images(dtype=dtype).astype(np.float32))


def test_infinity_is_a_value_but_overflow_is_an_error(tmp_path: Path) -> None:
    half = InputSpec("image", np.dtype("float16"), ("N", 3, 2))
    array = images(dtype="float64")
    array[0] = -np.inf
    assert np.isinf(load_npz(write(tmp_path, image=array), [half]).feeds["image"][0]).all()
    array[1] = 1e6
    with pytest.raises(DataError, match="array image holds values that float16 can't hold"):
        load_npz(write(tmp_path, image=array), [half])
    with pytest.raises(DataError, match="array image holds values that float16 can't hold"):
        load_npz(write(tmp_path, image=np.full((1, 3, 2), 70_000)), [half])


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"ids": np.arange(4)}, "no array image; the model needs image, ids, there is ids"),
        ({}, "no array image, ids; the model needs image, ids, there is none"),
        (
            {"image": images(), "ids": np.arange(4), "mask": 1, "y": 1},
            "the model has no input mask, y; it needs image, ids",
        ),
        (
            {"image": images()[0], "ids": np.arange(3)},
            r"array image has shape \[3, 2\], the model takes \[samples, 3, \?\]",
        ),
        ({"image": images().reshape(4, 2, 3), "ids": np.arange(4)}, r"array image has shape \[4, 2, 3\]"),
        ({"image": images(), "ids": np.arange(5)}, "different numbers of samples: image 4, ids 5"),
        ({"image": images(), "ids": np.arange(4), "labels": np.arange(3)}, "image 4, ids 4, labels 3"),
        ({"image": images(0), "ids": np.arange(0)}, "there are no samples"),
        ({"image": np.full((4, 3, 2), np.nan), "ids": np.arange(4)}, "array image holds nan"),
        ({"image": images(dtype=complex), "ids": np.arange(4)}, "array image is complex128, the model takes float32"),
        ({"image": images(dtype=str), "ids": np.arange(4)}, "array image is str.*, the model takes float32"),
        ({"image": images(), "ids": np.arange(4.0)}, "array ids is float64, the model takes int32"),
        ({"image": images(), "ids": np.ones(4, bool)}, "array ids is bool, the model takes int32"),
        ({"image": images(), "ids": np.arange(4) + 2**31}, "array ids holds values that int32 can't hold"),
        (
            {"image": images(), "ids": np.arange(4), "labels": np.array(["a"] * 4)},
            r"labels: must be numbers, one row per sample, not str.* of \[4\]",
        ),
        ({"image": images(), "ids": np.arange(4), "labels": 3}, r"one row per sample, not int64 of \[\]"),
        ({"image": images(), "ids": np.arange(4), "labels": np.full(4, 1j)}, "labels: complex numbers"),
        ({"image": images(), "ids": np.arange(4), "labels": np.full(4, np.inf)}, "labels: hold nan or infinity"),
        ({"image": images(), "ids": np.array([None] * 4)}, "array ids holds Python objects .* never loaded"),
    ],
)
def test_what_does_not_fit_is_one_line(arrays: dict[str, Any], reason: str, tmp_path: Path) -> None:
    path = write(tmp_path, **arrays)
    with pytest.raises(DataError, match=reason) as caught:
        load_npz(path, [IMAGE, IDS])
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert "allow_pickle" not in str(caught.value)


def test_inputs_without_a_sample_dimension_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, image=np.float32(1))
    with pytest.raises(DataError, match="array image is a scalar"):
        load_npz(path, [InputSpec("image", np.dtype("float32"), None)])


def test_an_unknown_rank_takes_any(tmp_path: Path) -> None:
    assert load_npz(write(tmp_path, image=images()), [InputSpec("image", np.dtype("float32"), None)]).size == 4


def test_a_fixed_first_size_is_no_matter_here(tmp_path: Path) -> None:
    assert load_npz(write(tmp_path, image=images()), [InputSpec("image", np.dtype("float32"), (1, 3, 2))]).size == 4


def test_a_pickle_runs_no_code(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (tmp_path.joinpath("ran").write_text, ("x",))

    with pytest.raises(DataError, match="a pickle"):
        load_npz(write(tmp_path, image=np.array([Bomb()], dtype=object)), [IMAGE])
    assert not (tmp_path / "ran").exists()


def test_files_that_are_no_npz(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    with pytest.raises(DataError, match="no such file"):
        load_npz(path, [IMAGE])
    with pytest.raises(DataError, match="no such file"):
        load_npz(tmp_path, [IMAGE])
    for content in (b"", b"garbage", b"\x93NUMB"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"not an \.npz file"):
            load_npz(path, [IMAGE])


def test_damaged_files(tmp_path: Path) -> None:
    path = write(tmp_path, image=images(1000))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="truncated or damaged"):
        load_npz(path, [IMAGE])
    path.write_bytes(b"#!" + whole)  # still a zip file to zipfile
    with pytest.raises(DataError, match=r"not an \.npz file"):
        load_npz(path, [IMAGE])
    encrypted = bytearray(whole)
    for flags in (6, whole.rindex(b"PK\x01\x02") + 8):
        encrypted[flags] |= 1
    path.write_bytes(encrypted)
    with pytest.raises(DataError, match=r"truncated or damaged \(File .* is encrypted"):
        load_npz(path, [IMAGE])
    path.write_bytes(whole[:2000] + bytes(byte ^ 255 for byte in whole[2000:2100]) + whole[2100:])
    with pytest.raises(DataError, match=r"truncated or damaged \(Bad CRC"):
        load_npz(path, [IMAGE])


@pytest.mark.parametrize(
    ("member", "content", "reason"),
    [
        ("image.npy", b"\x93NUMPY\x01\x00\x04\x00{a\n ", "array image can't be read"),
        ("image.npy", b"\x93NUMPY\x01\x00\x02", "array image can't be read"),
        ("readme.txt", b"hello", "readme.txt is no array"),
        ("image", b"hello", "image is no array"),
    ],
)
def test_members_that_are_no_arrays(member: str, content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
    with pytest.raises(DataError, match=reason):
        load_npz(path, [IMAGE])


def test_a_header_that_promises_more_than_memory(tmp_path: Path) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 3, 1000000), }"
    header = header.ljust(128 - 10 - 1) + b"\n"
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("image.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(DataError, match=r"array image (does not fit into memory|can't be read)"):
        load_npz(path, [IMAGE])


def dataset(size: int) -> Dataset:
    return Dataset({"image": images(size), "ids": np.arange(size)}, None, size)


@given(size=st.integers(1, 40), batch=st.integers(1, 12))
@settings(deadline=None)
def test_batches_keep_every_sample_once_and_in_order(size: int, batch: int) -> None:
    for fixed in (None, batch):
        parts = list(batches(dataset(size), batch, fixed))
        kept = np.concatenate([part.feeds["ids"][: part.size] for part in parts])
        assert kept.tolist() == list(range(size))
        for part in parts:
            assert len(part.feeds["image"]) == len(part.feeds["ids"])
            np.testing.assert_array_equal(part.feeds["image"], images(size)[part.feeds["ids"]])
        if fixed is not None:
            assert {len(part.feeds["ids"]) for part in parts} == {batch}


def test_the_last_batch_repeats_its_own_rows() -> None:
    last = list(batches(dataset(7), 99, fixed_batch=5))[-1]
    assert (last.size, last.feeds["ids"].tolist()) == (2, [5, 6, 5, 6, 5])


def test_the_batch_size_is_checked() -> None:
    with pytest.raises(SettingsError, match="not 0"):
        list(batches(dataset(3), 0))


def test_fixed_batch() -> None:
    fixed = InputSpec("a", np.dtype("float32"), (8, 3))
    other = InputSpec("b", np.dtype("float32"), (4,))
    unknown = InputSpec("c", np.dtype("float32"), None)
    assert fixed_batch([IMAGE, IDS, unknown], dataset(3)) is None
    assert fixed_batch([fixed, IMAGE, unknown], dataset(3)) == 8
    assert fixed_batch([fixed, other], None) is None
    with pytest.raises(DataError, match="different first sizes: 4, 8"):
        fixed_batch([fixed, other], dataset(3))
