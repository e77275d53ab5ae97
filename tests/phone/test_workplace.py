"""A folder of our own on the stand-in for a phone."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from onnx_attnprune.errors import DeviceError, ToolError
from onnx_attnprune.phone import PERF_TEST, TEST_RUNNER, Adb, Workplace
from tests.small import files
from tests.standin.setup import StandIn, stand_in


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> StandIn:
    return stand_in(tmp_path_factory.mktemp("standin"))


@pytest.fixture
def place(home: StandIn) -> Workplace:
    home.state()
    return Workplace.fresh(Adb(str(home.adb), "R58M42", 20.0), None)


def test_files_come_whole_and_go(home: StandIn, place: Workplace, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/model.onnx").write_bytes(b"x" * 1000)
    place.put([str(tmp_path / "d")], {"d/model.onnx": 1000})
    name = place.folder.rsplit("/", 1)[1]
    assert files(home.temporary) == {name, f"{name}/d", f"{name}/d/model.onnx"}
    (home.temporary / name / "a1.txt").write_text("one")
    assert place.text("a*.txt") == "one"
    assert "No such file" in place.text("a*.txt")
    assert place.remove() == ""
    assert files(home.temporary) == set()


def test_what_adb_says_to_have_copied_is_looked_at(home: StandIn, place: Workplace, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/model.onnx").write_bytes(b"x" * 1000)
    home.state("half a file")
    with pytest.raises(DeviceError, match=r"model.onnx was copied, but 500 of 1,000 bytes of it are there"):
        place.put([str(tmp_path / "d")], {"d/model.onnx": 1000})
    with pytest.raises(DeviceError, match="d/other was copied, but it is not there"):
        place.put([], {"d/other": 1})
    place.remove()


def test_a_phone_that_can_not_be_written_to(home: StandIn) -> None:
    home.state("read-only")
    with pytest.raises(DeviceError, match=r"its /data/local/tmp can't be written to: mkdir: .*Read-only file system"):
        Workplace.fresh(Adb(str(home.adb), "R58M42", 20.0), None)


def test_what_can_not_be_removed_is_told(home: StandIn, place: Workplace) -> None:
    home.state("disconnected")
    assert place.remove() == f"{place.folder} is left on it"
    home.state()
    place.remove()


STARTING = {
    "missing library": r"needs the library libonnxruntime.so: put it beside it in --tools \(CANNOT LINK",
    "older Android": "was built for another version of Android, or of its libraries",
    "wrong processor": "was built for another processor",
    "not executable": "may not be run there",
    "not there": "is not there",
}


@pytest.mark.parametrize("fault", STARTING)
def test_a_tool_that_does_not_start(fault: str, home: StandIn, place: Workplace) -> None:
    place.put([str(home.tools / TEST_RUNNER)], {})
    home.state(fault)
    with pytest.raises(DeviceError, match=STARTING[fault]):
        place.started(TEST_RUNNER)
    place.remove()


def test_tools_that_start_and_one_that_is_missing(home: StandIn, place: Workplace) -> None:
    place.put([str(home.tools / TEST_RUNNER), str(home.tools / PERF_TEST)], {})
    assert "onnxruntime version: 1.22.0" in place.started(TEST_RUNNER)
    assert "onnxruntime_perf_test [options...]" in place.started(PERF_TEST)
    elsewhere = Workplace(place.adb, place.folder, "/data/local/tmp")
    with pytest.raises(DeviceError, match=r"^/data/local/tmp/onnx_test_runner is not there \("):
        elsewhere.started(TEST_RUNNER)
    place.remove()


def test_a_tool_that_hangs_is_stopped(home: StandIn, place: Workplace) -> None:
    slow = home.temporary / place.folder.rsplit("/", 1)[1] / "slow"
    slow.write_text("#!/bin/sh\nwhile :; do echo x >> beats; sleep 0.05; done\n")
    slow.chmod(0o755)
    hasty = Workplace(Adb(place.adb.program, place.adb.serial, 1.0), place.folder, place.tools)
    with pytest.raises(ToolError, match=r"^slow was still running after 1 s, and was stopped \(--timeout\)"):
        hasty.run("slow", [])
    time.sleep(0.1)
    before = (slow.parent / "beats").stat().st_size
    time.sleep(0.2)
    assert (slow.parent / "beats").stat().st_size == before
    place.remove()
