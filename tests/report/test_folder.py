"""A folder that appears whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnx_attnprune.errors import OutputError
from onnx_attnprune.report import folder as report_folder
from onnx_attnprune.report.folder import check_folder, whole_folder
from tests.small import files


def test_a_new_folder_appears_at_the_end(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "b") as staged:
        (staged / "f").write_text("new")
        assert not (tmp_path / "b").exists()
    assert files(tmp_path) == {"b", "b/f"}
    assert (tmp_path / "b").stat().st_mode & 0o777 == tmp_path.parent.stat().st_mode & 0o777 | 0o055


def test_one_that_was_there_is_replaced_whole(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b/old").write_text("old")
    with whole_folder(tmp_path / "b") as staged:
        (staged / "f").write_text("new")
    assert files(tmp_path) == {"b", "b/f"}


def test_an_error_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b/old").write_text("old")

    def interrupted() -> None:
        with whole_folder(tmp_path / "b") as staged:
            (staged / "f").write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert files(tmp_path) == {"b", "b/old"}
    real, calls = report_folder.os.replace, []

    def replace(one: Path, other: Path) -> None:
        calls.append(one)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        real(one, other)

    monkeypatch.setattr(report_folder.os, "replace", replace)
    with (
        pytest.raises(OutputError, match=r"b: can't be written: No space left on device"),
        whole_folder(tmp_path / "b") as staged,
    ):
        (staged / "f").write_text("new")
    assert files(tmp_path) == {"b", "b/old"}


def test_errors_speak_of_the_place_that_the_user_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as error, whole_folder(tmp_path / "b") as staged:
        raise OutputError(f"{staged}/f: full")
    assert str(error.value) == f"{tmp_path / 'b'}/f: full"


def test_what_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    check_folder(tmp_path / "b", lambda _: False)
    check_folder(tmp_path / "new", lambda _: False)
    (tmp_path / "b/mine").write_text("dear")
    check_folder(tmp_path / "b", lambda _: True)
    with pytest.raises(OutputError, match="b: holds other files"):
        check_folder(tmp_path / "b", lambda _: False)
    with pytest.raises(OutputError, match="mine: is there, and no folder"):
        check_folder(tmp_path / "b/mine", lambda _: True)
    with pytest.raises(OutputError, match=r"no/b: can't be written: .*no is no folder"):
        check_folder(tmp_path / "no/b", lambda _: True)
