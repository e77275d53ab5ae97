"""Files that appear together or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from onnx_attnprune.errors import OutputError, SettingsError
from onnx_attnprune.report import Outputs, check_outputs
from onnx_attnprune.report import files as module
from tests.small import cnn, files


def test_files_appear_at_the_end(tmp_path: Path) -> None:
    with Outputs() as outputs:
        staged, size = outputs.put_model(cnn(), tmp_path / "m.onnx")
        outputs.put_text("plan", tmp_path / "p.json")
        assert not (tmp_path / "m.onnx").exists()
        assert staged.stat().st_size == size
        outputs.commit()
    assert files(tmp_path) == {"m.onnx", "p.json"}
    assert (tmp_path / "m.onnx").read_bytes() == cnn().SerializeToString()
    assert (tmp_path / "p.json").read_text() == "plan"


def test_files_are_readable_as_any_other(tmp_path: Path) -> None:
    mask = os.umask(0o022)
    try:
        with Outputs() as outputs:
            outputs.put_model(cnn(), tmp_path / "m.onnx")
            outputs.commit()
    finally:
        os.umask(mask)
    assert (tmp_path / "m.onnx").stat().st_mode & 0o777 == 0o644


def test_nothing_is_left_where_nothing_was_committed(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_text("old")
    with Outputs() as outputs:
        outputs.put_model(cnn(), tmp_path / "m.onnx")
        outputs.put_text("plan", tmp_path / "p.json")
    assert files(tmp_path) == {"m.onnx"}
    assert (tmp_path / "m.onnx").read_text() == "old"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_move_that_fails_undoes_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    (tmp_path / "a.json").write_text("old a")
    real = os.replace

    def replace(source: Path, target: Path) -> None:
        if target.name == "c.json":
            raise error
        real(source, target)

    with Outputs() as outputs:
        for name in ("a", "b", "c"):
            outputs.put_text(f"new {name}", tmp_path / f"{name}.json")
        monkeypatch.setattr(module.os, "replace", replace)
        with pytest.raises(OutputError if isinstance(error, OSError) else KeyboardInterrupt) as caught:
            outputs.commit()
    if isinstance(error, OSError):
        assert str(caught.value) == f"{tmp_path / 'c.json'}: can't be written: No space left on device"
    assert files(tmp_path) == {"a.json"}
    assert (tmp_path / "a.json").read_text() == "old a"


def test_where_there_are_no_hard_links_what_was_there_is_not_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    def replace(source: Path, target: Path) -> None:
        raise OSError(5, "Input/output error")

    (tmp_path / "a.json").write_text("old a")
    with Outputs() as outputs:
        outputs.put_text("new a", tmp_path / "a.json")
        monkeypatch.setattr(module.os, "link", refuse)
        monkeypatch.setattr(module.os, "replace", replace)
        with pytest.raises(OutputError):
            outputs.commit()
    assert (tmp_path / "a.json").read_text() == "old a"


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there/real.json").write_text("old")
    (tmp_path / "link.json").symlink_to("there/real.json")
    with Outputs() as outputs:
        outputs.put_text("new", tmp_path / "link.json")
        outputs.commit()
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "there/real.json").read_text() == "new"
    assert files(tmp_path) == {"there", "there/real.json", "link.json"}


def test_errors_name_the_place_that_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OutputError(f"{path}: can't be written: No space left on device")

    monkeypatch.setattr(module, "write_bytes", full)
    with Outputs() as outputs, pytest.raises(OutputError) as caught:
        outputs.put_text("plan", tmp_path / "p.json")
    assert str(caught.value) == f"{tmp_path / 'p.json'}: can't be written: No space left on device"
    assert files(tmp_path) == set()


def test_a_folder_that_went_away(tmp_path: Path) -> None:
    with Outputs() as outputs, pytest.raises(OutputError, match="No such file or directory"):
        outputs.put_text("plan", tmp_path / "gone/p.json")


def test_what_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("in")
    check_outputs([tmp_path / "out", tmp_path / "plan"], [tmp_path / "in"])
    with pytest.raises(SettingsError, match="two outputs"):
        check_outputs([tmp_path / "out", tmp_path / "." / "out"], [])
    with pytest.raises(SettingsError, match="overwrite an input"):
        check_outputs([tmp_path / "in"], [tmp_path / "in"])
    with pytest.raises(OutputError, match="is a folder"):
        check_outputs([tmp_path], [])
    assert files(tmp_path) == {"in"}
