"""The commands for phones, from the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

from onnx_attnprune.cli import device as commands
from onnx_attnprune.cli import main
from onnx_attnprune.pipeline.device import ON_PHONES
from tests.oracle import parse
from tests.small import cnn, files, labelled, run, saved
from tests.test_deploy import pruned, splits


def device(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["device", *map(str, arguments)])


# ---------------------------------------------------------------- check
def test_one_model(tmp_path: Path) -> None:
    done = device("check", saved(cnn(), tmp_path))
    assert (done.exit_code, done.stderr) == (0, "")
    words = " ".join(done.stdout.split())
    assert "usability analysis (1x3x12x10)" in words
    assert "yes 7 of 7 1 0 of 2 convs" in words
    assert "changed" not in words


def test_pruning_without_and_with_deploy(tmp_path: Path) -> None:
    pruned(tmp_path, "--round-to", 1)
    done = device("check", tmp_path / "in.onnx", tmp_path / "o.onnx")
    assert done.exit_code == 0
    words = " ".join(done.stdout.split())
    assert "Split: its parts are not equal 1 2" in words
    assert "1 Split node more that NNAPI does not take" in words
    pruned(tmp_path, "--round-to", 1, "--deploy", "nnapi")
    done = device("check", tmp_path / "in.onnx", tmp_path / "o.onnx")
    assert "Split node" not in done.stdout
    onnx.save(splits(), tmp_path / "same.onnx")
    done = device("check", tmp_path / "in.onnx", tmp_path / "same.onnx")
    assert "changed nothing that NNAPI minds" in " ".join(done.stdout.split())


def test_check_for_programs(tmp_path: Path) -> None:
    pruned(tmp_path, "--round-to", 1)
    done = device("check", tmp_path / "in.onnx", tmp_path / "o.onnx", "--shape", "x=2x3x8x6", "--json")
    told = json.loads(done.stdout)
    assert (told["format"], told["version"]) == ("onnx-attnprune/usability", 1)
    assert [m["shapes"] for m in told["models"]] == [{"x": [2, 3, 8, 6]}] * 2
    assert [m["partitions"]["supported"] for m in told["models"]] == [10, 9]
    assert len(told["changes"]) == 3


@pytest.mark.parametrize(
    ("code", "told", "arguments"),
    [
        (3, "none.onnx: no such file", ["check", "none.onnx"]),
        (2, "compares two models at most", ["check", "in.onnx", "in.onnx", "in.onnx"]),
        (2, "the model has no input q", ["check", "in.onnx", "--shape", "q=1"]),
    ],
)
def test_bad_input(code: int, told: str, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(cnn(), tmp_path)
    monkeypatch.chdir(tmp_path)
    done = device(*arguments)
    assert (done.exit_code, done.stdout) == (code, "")
    assert done.stderr.startswith("error: ")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert files(tmp_path) == {"in.onnx"}


def test_which_of_two_models_is_to_blame(tmp_path: Path) -> None:
    nameless = cnn()
    nameless.graph.ClearField("name")
    done = device("check", saved(cnn(), tmp_path), saved(nameless, tmp_path, "out.onnx"))
    assert done.exit_code == 3
    assert done.stderr.startswith(f"error: {tmp_path / 'out.onnx'}: the shapes can't be fixed: Field 'name' of 'graph'")


# ---------------------------------------------------------------- bundle
def bundle(folder: Path, *options: object) -> Result:
    """A bundle of a small network and a pruned one, in `folder`/b."""
    original = saved(cnn(), folder)
    if not (folder / "o.onnx").exists():
        assert run(original, folder / "o.onnx", "--plan", folder / "p.json", "--recover", "none").exit_code == 0
    return device("bundle", original, folder / "o.onnx", folder / "b", *options)


def test_a_bundle_with_samples_and_plan(tmp_path: Path) -> None:
    data = labelled(tmp_path, labels=None)
    done = bundle(tmp_path, "--calibrate", data, "--samples", 2, "--plan", tmp_path / "p.json")
    assert (done.exit_code, done.stderr) == (0, "")
    words = " ".join(done.stdout.split())
    for text in ("at 1x3x12x10", "samples 2, of data.npz, with what each", "written", "16 files"):
        assert text in words
    found = json.loads((tmp_path / "b/manifest.json").read_text())
    assert (found["format"], found["samples"], found["plan"]) == ("onnx-attnprune/bundle", 2, "plan.json")
    assert set(found["files"]) | {"manifest.json"} == {p for p in files(tmp_path / "b") if "." in p}
    assert (tmp_path / "b/plan.json").read_bytes() == (tmp_path / "p.json").read_bytes()


def test_an_earlier_bundle_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    assert bundle(tmp_path, "--samples", 2).exit_code == 0
    told = json.loads(bundle(tmp_path, "--samples", 1, "--shape", "x=3x3x12x10", "--json").stdout)
    assert (told["samples"], told["models"][0]["shapes"], told["models"][0]["batch"]) == (
        1,
        {"x": [3, 3, 12, 10]},
        None,
    )
    assert "b/original/test_data_set_1" not in files(tmp_path)
    (tmp_path / "b/figures.json").write_text("mine")
    before = files(tmp_path)
    done = bundle(tmp_path)
    assert (done.exit_code, done.stdout) == (7, "")
    assert "b: holds other files; name a folder that is new or empty, or an earlier bundle" in done.stderr
    assert files(tmp_path) == before


BUNDLES: dict[str, tuple[int, str, list[str]]] = {
    "missing": (3, "none.onnx: no such file", ["in.onnx", "none.onnx", "b"]),
    "another model": (3, "other.onnx: not a pruned in.onnx: the outputs were", ["in.onnx", "other.onnx", "b"]),
    "plan of another model": (6, "made for another model", ["o.onnx", "in.onnx", "b", "--plan", "p.json"]),
    "no samples": (2, "is no positive number", ["in.onnx", "o.onnx", "b", "--samples", "0"]),
    "a size that does not fit": (2, "the model fixes", ["in.onnx", "o.onnx", "b", "--shape", "x=1x4x12x10"]),
    "data that does not fit": (4, "no array x", ["in.onnx", "o.onnx", "b", "--calibrate", "d.npz"]),
    "preprocess without images": (2, "is for a folder", ["in.onnx", "o.onnx", "b", "--preprocess", "size=8"]),
    "over a model": (7, "o.onnx: is there, and no folder", ["in.onnx", "o.onnx", "o.onnx"]),
    "in no folder": (7, "no is no folder", ["in.onnx", "o.onnx", "no/b"]),
}  # fmt: skip  # one line each


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    assert bundle(folder).exit_code == 0
    shutil.rmtree(folder / "b")
    saved(parse("g (float[N, 3, 12, 10] x) => (float[N, 3, 12, 10] z) {z = Neg(x)}"), folder, "other.onnx")
    labelled(folder, x=None, name="d.npz", z=np.zeros(3, np.float32))
    return folder


@pytest.mark.parametrize("name", BUNDLES)
def test_bundles_that_make_no_sense(name: str, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, told, arguments = BUNDLES[name]
    monkeypatch.chdir(models)
    before = files(models)
    done = device("bundle", *arguments)
    assert (done.exit_code, done.stdout) == (code, "")
    assert told in done.stderr
    assert files(models) == before


# ---------------------------------------------------------------- help
def test_the_providers_are_those_of_the_run() -> None:
    assert commands.ON_PHONES == ON_PHONES


def test_every_command_has_help_and_examples() -> None:
    group = main.commands["device"]
    told = device("--help").output
    for name, command in group.commands.items():  # type: ignore[attr-defined]  # of a group
        assert f"  {name} " in told
        text = device(name, "--help").output
        assert f"onnx-attnprune device {name} " in text
        assert "Examples:" in text
        assert all(p.help for p in command.params if p.param_type_name == "option")
