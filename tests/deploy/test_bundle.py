"""The manifest of a bundle: written, read back, and refused where it is not what it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onnx_attnprune.deploy.bundle import MANIFEST, Bundle, Bundled, hashes, read_bundle
from onnx_attnprune.errors import DataError
from onnx_attnprune.report import to_json


def bundled(role: str) -> Bundled:
    return Bundled(role, f"{role}.onnx", "0" * 64, 1, {"x": (1, 3)}, 2.5, 1e-3, None, "no reason")


def written(folder: Path) -> Bundle:
    (folder / "original").mkdir()
    (folder / "original/model.onnx").write_text("a model")
    parts = (bundled("original"), bundled("pruned"))
    bundle = Bundle("onnx-attnprune device bundle", {"onnx": "1"}, "random values", 2, parts, None, hashes(folder))
    (folder / MANIFEST).write_text(to_json(bundle))
    return bundle


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    bundle = written(tmp_path)
    assert bundle.files == {"original/model.onnx": hashlib.sha256(b"a model").hexdigest()}
    assert read_bundle(tmp_path) == bundle


def test_files_that_are_gone_or_changed(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "original/model.onnx").write_text("another")
    with pytest.raises(DataError, match=r"original/model.onnx: has changed since the bundle was made; make it again"):
        read_bundle(tmp_path)
    (tmp_path / "original/model.onnx").unlink()
    with pytest.raises(DataError, match=r"original/model.onnx: is missing"):
        read_bundle(tmp_path)


def changed(change: Callable[[dict[str, Any]], object]) -> Callable[[str], str]:
    def apply(text: str) -> str:
        document = json.loads(text)
        change(document)
        return json.dumps(document)

    return apply


DAMAGES: dict[str, tuple[Callable[[str], str], str]] = {
    "not JSON": (lambda _: "{", "no manifest of a bundle"),
    "an abyss": (lambda _: "[" * 100_000, "no manifest of a bundle"),
    "a list": (lambda _: "[]", "no manifest of a bundle"),
    "another format": (changed(lambda d: d.update(format="onnx-attnprune/plan")), "no manifest of a bundle"),
    "a later version": (changed(lambda d: d.update(version=2)), "version 2 of the format; this program knows 1"),
    "no files": (changed(lambda d: d.pop("files")), "damaged"),
    "one model": (changed(lambda d: d["models"].pop()), "it is not of two models"),
    "a role for the shell": (changed(lambda d: d["models"][0].update(role="$(x)")), "it is not of two models"),
    "a file outside": (changed(lambda d: d["files"].update({"../x": "0"})), "../x lies outside"),
    "no number": (changed(lambda d: d["models"][0].update(largest="much")), "damaged"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_manifests_that_are_none(name: str, tmp_path: Path) -> None:
    damage, told = DAMAGES[name]
    written(tmp_path)
    (tmp_path / MANIFEST).write_text(damage((tmp_path / MANIFEST).read_text()))
    with pytest.raises(DataError) as error:
        read_bundle(tmp_path)
    assert told in str(error.value)


def test_a_folder_that_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no bundle \(it has no manifest.json\); device bundle makes one"):
        read_bundle(tmp_path)
