"""Which reader a source is for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnx_attnprune.errors import DataError, SettingsError
from onnx_attnprune.evaluate.feeds import InputSpec
from onnx_attnprune.evaluate.loading import MOST_CALIBRATION, check_preprocess, load, path_of, told

SPECS = (InputSpec("x", np.dtype(np.float32), ("N", 3)),)
X = np.ones((4, 3))


def one(labels: bool) -> object:
    return [({"x": X}, [0, 1, 2, 3])] if labels else [{"x": X}]


def test_arrays_and_functions() -> None:
    found = load({"x": X, "labels": np.arange(4)}, SPECS, "", labelled=True)
    assert (found.size, found.source) == (4, "the given arrays")
    assert found.labels is not None
    found = load(lambda: one(True), SPECS, "", labelled=True)
    assert found.size == 4
    assert "test_arrays_and_functions" in found.source
    calls = iter(range(10_000_000))
    found = load(lambda: ({"x": X} for _ in calls), SPECS, "", labelled=False)
    assert found.size == MOST_CALIBRATION
    with pytest.raises(DataError, match="the given arrays: has no array 'labels'"):
        load({"x": X}, SPECS, "", labelled=True)
    with pytest.raises(SettingsError, match="there is no module 'own_none'"):
        load("own_none:f", SPECS, "", labelled=True)


def test_arrays_need_not_be_of_numpy() -> None:
    found = load({"x": X.tolist(), "labels": [3, 2, 1, 0]}, SPECS, "", labelled=True)
    assert found.labels is not None
    assert (np.asarray(found.feeds["x"]).tolist(), found.labels.tolist()) == (X.tolist(), [3, 2, 1, 0])


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "array x is no array of numbers but None"),
        (3, "array x is a single number"),
        ([[1.0], [2.0, 3.0]], "array x is no array: setting an array element with a sequence"),
    ],
)
def test_what_is_no_array(value: object, told: str) -> None:
    with pytest.raises(DataError, match=told):
        load({"x": value}, SPECS, "", labelled=False)  # type: ignore[dict-item]  # on purpose


@pytest.mark.parametrize(("source", "told"), [([X], "a list"), (5, "a int"), ("", "an empty name")])
def test_what_is_no_source(source: object, told: str) -> None:
    with pytest.raises(SettingsError, match=f"samples are a path, .* by input name, not {told}"):
        load(source, SPECS, "", labelled=False)  # type: ignore[arg-type]  # on purpose


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert path_of("a:b") is None
    np.savez(tmp_path / "d.npz", x=X)
    (tmp_path / "d.npz").rename("a:b")
    assert path_of("a:b") == Path("a:b")
    assert load("a:b", SPECS, "", labelled=False).size == 4
    assert path_of("no/such.npz") == Path("no/such.npz")
    assert (path_of(None), path_of({"x": X}), path_of(one)) == (None, None, None)
    assert told(Path("d.npz")) == "d.npz"
    with pytest.raises(DataError, match=r"no/such.npz: no such file"):
        load("no/such.npz", SPECS, "", labelled=False)


def test_preprocessing_is_for_folders(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 2, 3), np.uint8)).save(tmp_path / "a.png")
    spec = InputSpec("image", np.dtype("float32"), ("N", 3, 4, 2))
    found = load(tmp_path, [spec], "mean=1", labelled=False)
    assert np.asarray(found.feeds["image"]).max() == -1
    check_preprocess("mean=1", (None, str(tmp_path)))
    check_preprocess("", (None, None))
    with pytest.raises(SettingsError, match="no samples come from one"):
        check_preprocess("mean=1", ("data.npz", None))
    with pytest.raises(SettingsError, match="no key is called 'average'"):
        check_preprocess("average=1", (tmp_path,))
