"""Weights in files beside a model, and tensors that hold more or less than they say."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnx_attnprune.errors import ModelError
from onnx_attnprune.graph import external_files, read_model, sha256
from tests.oracle import stored
from tests.small import cnn, saved


def beside(folder: Path, file: str = "w.bin", **entries: str | None) -> Path:
    """A model with its weights in `file`; `entries` replace what it says of their place (None: left out)."""
    path = folder / "in.onnx"
    onnx.save(cnn(), path, save_as_external_data=True, location=file, size_threshold=100)
    model = onnx.load(path, load_external_data=False)
    for tensor in (t for t in model.graph.initializer if t.data_location == TensorProto.EXTERNAL):
        told = {e.key: e.value for e in tensor.external_data} | entries
        del tensor.external_data[:]
        for key, value in told.items():
            if value is not None:
                tensor.external_data.add(key=key, value=value)
    onnx.save(model, path)
    return path


def assert_weights_read(path: Path) -> None:
    """The weights are those of the model with all in one file."""
    found = stored(read_model(path))
    for name, array in stored(cnn()).items():
        np.testing.assert_array_equal(found[name], array)


# ---------------------------------------------------------------- files beside a model
@pytest.mark.parametrize("location", ["w.bin", "gewichte ü.bin", "./w.bin"])
def test_weights_are_read_from_beside(location: str, tmp_path: Path) -> None:
    path = beside(tmp_path, location)
    assert_weights_read(path)
    assert external_files(path) == (tmp_path / location,)


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ({"location": "../w.bin"}, "lies outside of the model's folder: '../w.bin'"),
        ({"location": "/etc/hostname"}, "lies outside of the model's folder"),
        ({"location": "w\0.bin"}, "lies outside of the model's folder"),
        ({"location": None}, "lies outside of the model's folder: ''"),
        ({"location": "other.bin"}, "the external data file 'other.bin' of 'w1' is missing"),
        ({"location": "."}, "the external data file '.' of 'w1' is missing"),
        ({"offset": "here"}, "has no place in its file: offset 'here', length '2160'"),
        ({"offset": "-8"}, "has no place in its file: offset '-8'"),
        ({"length": "-8"}, "has no place in its file: offset '0', length '-8'"),
        ({"offset": str(2**70)}, "'w.bin' is truncated: 'w1' ends at byte"),
        ({"length": "4"}, "'w1' holds 4 bytes; its shape 20x3x3x3 asks for 2,160"),
        ({"length": None}, "'w1' holds 29,312 bytes; its shape 20x3x3x3 asks for 2,160"),
    ],
)
def test_places_that_make_no_sense(entries: dict[str, str | None], told: str, tmp_path: Path) -> None:
    path = beside(tmp_path, **entries)
    with pytest.raises(ModelError) as caught:
        read_model(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert told in str(caught.value)


def test_a_cache_of_linked_files(tmp_path: Path) -> None:
    """Model and weights are links to files with other names, which lie in one folder."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    path = beside(tmp_path / "blobs")
    for name, blob in (("in.onnx", "1a2b"), ("w.bin", "3c4d")):
        (tmp_path / "blobs" / name).rename(tmp_path / "blobs" / blob)
        (tmp_path / "snapshot" / name).symlink_to(f"../blobs/{blob}")
    path = tmp_path / "snapshot/in.onnx"
    assert_weights_read(path)
    assert external_files(path) == (tmp_path / "blobs/3c4d",)


def test_a_link_to_a_model_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    beside(tmp_path / "models")
    (tmp_path / "link.onnx").symlink_to("models/in.onnx")
    assert_weights_read(tmp_path / "link.onnx")


def test_a_link_that_leads_out_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    path = beside(tmp_path / "model")
    (tmp_path / "model/w.bin").rename(tmp_path / "w.bin")
    (tmp_path / "model/w.bin").symlink_to("../w.bin")
    with pytest.raises(ModelError, match="lies outside of the model's folder"):
        read_model(path)


def test_functions_that_call_themselves(tmp_path: Path) -> None:
    model = cnn()
    function = helper.make_function(
        "d", "F", ["a"], ["b"], [helper.make_node("F", ["a"], ["b"], domain="d")], [helper.make_opsetid("d", 1)]
    )
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("d", 1))
    path = saved(model, tmp_path)
    with pytest.raises(ModelError, match=rf"{path}: the model's functions can't be put in place: Cycle detected"):
        read_model(path)


# ---------------------------------------------------------------- the hash
def test_the_hash_of_a_single_file_is_that_of_the_file(tmp_path: Path) -> None:
    path = saved(cnn(), tmp_path)
    assert sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_hash_tells_weights_in_other_files_apart(tmp_path: Path) -> None:
    path = beside(tmp_path)
    model, before = path.read_bytes(), sha256(path)
    assert before == hashlib.sha256(model + (tmp_path / "w.bin").read_bytes()).hexdigest()
    weights = bytearray((tmp_path / "w.bin").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "w.bin").write_bytes(weights)
    assert path.read_bytes() == model
    assert sha256(path) != before


# ---------------------------------------------------------------- how much a tensor holds
def holding(tensor: TensorProto) -> ModelProto:
    """A model with a tensor that nothing reads."""
    model = cnn()
    model.graph.initializer.append(tensor)
    return model


def edited(change: Callable[[TensorProto], object]) -> ModelProto:
    """A model with a tensor of 2 x 3 numbers that nothing reads, after a change."""
    model = holding(numpy_helper.from_array(np.zeros((2, 3), np.float32), "t"))
    change(model.graph.initializer[-1])
    return model


def typed(name: str, kind: int, field: str, count: int) -> TensorProto:
    """A tensor of 3 x 5 numbers with `count` entries in a field of its own kind."""
    tensor = TensorProto(name=name, data_type=kind, dims=[3, 5])
    getattr(tensor, field).extend([b""] * count if field == "string_data" else [0] * count)
    return tensor


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.dims.__setitem__(0, 3), "'t' holds 24 bytes; its shape 3x3 asks for 36"),
        (lambda t: t.dims.__setitem__(0, -2), "'t' has a negative size: -2x3"),
        (lambda t: t.dims.pop(), "'t' holds 24 bytes; its shape 2 asks for 8"),
        (lambda t: t.ClearField("dims"), "'t' holds 24 bytes; its shape of a single number asks for 4"),
        (lambda t: t.ClearField("raw_data"), "'t' holds 0 numbers; its shape 2x3 asks for 6"),
        (lambda t: setattr(t, "raw_data", t.raw_data[:-1]), "'t' holds 23 bytes"),
        (lambda t: setattr(t, "data_type", 99), r"'t' is of a type \(99\) without numbers"),
        (lambda t: setattr(t, "data_type", 0), r"'t' is of a type \(0\) without numbers"),
    ],
)
def test_tensors_that_contradict_themselves(change: Callable[[TensorProto], object], told: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=told):
        read_model(saved(edited(change), tmp_path))


@pytest.mark.parametrize(
    ("kind", "field", "count"),
    [("FLOAT", "float_data", 15), ("FLOAT16", "int32_data", 15), ("BOOL", "int32_data", 15),
     ("INT64", "int64_data", 15), ("UINT32", "uint64_data", 15), ("DOUBLE", "double_data", 15),
     ("STRING", "string_data", 15), ("COMPLEX64", "float_data", 30), ("INT4", "int32_data", 8)],
)  # fmt: skip  # one list
def test_tensors_in_typed_fields(kind: str, field: str, count: int, tmp_path: Path) -> None:
    number = TensorProto.DataType.Value(kind)
    path = saved(holding(typed("t", number, field, count)), tmp_path)
    assert read_model(path).graph.initializer[-1].name == "t"
    with pytest.raises(ModelError, match=f"'t' holds {count - 1} numbers; its shape 3x5 asks for {count}"):
        read_model(saved(holding(typed("t", number, field, count - 1)), tmp_path))


def test_numbers_that_share_a_byte(tmp_path: Path) -> None:
    tensor = helper.make_tensor("t", TensorProto.UINT4, [5], np.arange(5, dtype=np.uint8))
    assert stored(read_model(saved(holding(tensor), tmp_path)))["t"].astype(int).tolist() == [0, 1, 2, 3, 4]
    tensor = TensorProto(name="t", data_type=TensorProto.UINT4, dims=[5], raw_data=b"12")
    with pytest.raises(ModelError, match="'t' holds 2 bytes; its shape 5 asks for 3"):
        read_model(saved(holding(tensor), tmp_path))
