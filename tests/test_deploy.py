"""`--deploy`: what a runtime takes only while it is even stays even."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from onnx import ModelProto, numpy_helper

from onnx_attnprune.errors import PlanError, SettingsError
from onnx_attnprune.graph import Graph
from onnx_attnprune.grouping import analyze
from onnx_attnprune.planning import Settings, read_plan
from onnx_attnprune.runtime import PROVIDERS
from tests.oracle import parse
from tests.small import files, run, saved


def splits() -> ModelProto:
    """A Split into halves of 40 channels, whose second half scores far lower, and one into 9 and 15."""
    model = parse(
        """g (float[N, 3, 8, 6] x) => (float[N, 7, 8, 6] y)
        <float[80, 3, 1, 1] w, float[24, 40, 1, 1] v, float[24, 40, 1, 1] u, float[7, 9, 1, 1] s, float[7, 15, 1, 1] t,
         int64[2] halves = {40, 40}, int64[2] parts = {9, 15}>
        { h = Conv (x, w)
          r = Relu (h)
          a, b = Split <axis = 1> (r, halves)
          c = Conv (a, v)
          d = Conv (b, u)
          e = Add (c, d)
          f = Tanh (e)
          i, j = Split <axis = 1> (f, parts)
          k = Conv (i, s)
          l = Conv (j, t)
          y = Add (k, l) }"""
    )
    for tensor in model.graph.initializer:
        if tensor.name == "w":
            values = numpy_helper.to_array(tensor).copy()
            values[40:60] *= 1e-3
            tensor.CopyFrom(numpy_helper.from_array(values, "w"))
    return model


def parts(path: Path) -> dict[str, list[int]]:
    """The sizes of the parts of each Split, by its first result."""
    model = onnx.load(path)
    values = {t.name: numpy_helper.to_array(t).tolist() for t in model.graph.initializer}
    return {n.output[0]: values[n.input[1]] for n in model.graph.node if n.op_type == "Split"}


def pruned(folder: Path, *options: object) -> dict[str, list[int]]:
    options = (
        saved(splits(), folder),
        folder / "o.onnx",
        "--ratio",
        0.3,
        "--scope",
        "global",
        "--recover",
        "none",
        *options,
    )
    done = run(*options)
    assert done.exit_code == 0, done.output
    return parts(folder / "o.onnx")


def test_an_even_split_stays_even(tmp_path: Path) -> None:
    uneven = pruned(tmp_path, "--round-to", 1)["a"]
    assert uneven[0] != uneven[1]
    found = pruned(tmp_path, "--round-to", 1, "--deploy", "nnapi")
    assert found["a"][0] == found["a"][1] < 40
    # What was uneven is none of NNAPI's business, and free.
    assert sum(found["i"]) < 24


def test_counts_are_the_multiples_that_it_likes(tmp_path: Path) -> None:
    halves = pruned(tmp_path, "--deploy", "nnapi")["a"]
    assert halves[0] == halves[1] < 40
    assert halves[0] % PROVIDERS["nnapi"].multiple == 0


@pytest.mark.parametrize("options", [["--target-macs", 0.5], ["--threshold", 0.2], ["--ratio", 0.4, "--steps", 3]])
def test_every_way_of_choosing_keeps_it_even(options: list[object], tmp_path: Path) -> None:
    done = run(saved(splits(), tmp_path), tmp_path / "o.onnx", *options, "--deploy", "nnapi", "--round-to", 1)
    assert done.exit_code == 0, done.output
    one, two = parts(tmp_path / "o.onnx")["a"]
    assert one == two < 40


def test_a_plan_remembers_what_it_is_for(tmp_path: Path) -> None:
    expected = pruned(tmp_path, "--deploy", "nnapi", "--plan", tmp_path / "p.json")
    assert json.loads((tmp_path / "p.json").read_text())["settings"]["deploy"] == "nnapi"
    done = run(tmp_path / "in.onnx", tmp_path / "again.onnx", "--from-plan", tmp_path / "p.json")
    assert done.exit_code == 0, done.output
    assert parts(tmp_path / "again.onnx") == expected
    done = run(tmp_path / "in.onnx", tmp_path / "third.onnx", "--from-plan", tmp_path / "p.json", "--deploy", "nnapi")
    assert done.exit_code == 2
    assert "leave out --deploy" in done.stderr
    assert "third.onnx" not in files(tmp_path)


@pytest.mark.parametrize("wrong", ['"abacus"', "[1]"])
def test_a_plan_for_something_unknown(wrong: str, tmp_path: Path) -> None:
    pruned(tmp_path, "--deploy", "nnapi", "--plan", tmp_path / "p.json")
    text = (tmp_path / "p.json").read_text()
    (tmp_path / "p.json").write_text(text.replace('"deploy": "nnapi"', f'"deploy": {wrong}'))
    with pytest.raises(PlanError, match="is not one of nnapi"):
        read_plan(tmp_path / "p.json")


def test_settings_know_what_there_is() -> None:
    assert Settings(deploy="nnapi").alike == ("Split",)
    assert Settings().alike == ()
    with pytest.raises(SettingsError, match="--deploy 'abacus' is not one of nnapi"):
        Settings(deploy="abacus")


def test_groups_of_the_analysis() -> None:
    model = splits()
    assert sorted(g.size for g in analyze(Graph(model)).groups) == [9, 15, 40, 40]
    assert sorted(g.size for g in analyze(Graph(model), alike=("Split",)).groups) == [9, 15, 40]


def test_parts_that_are_kept_keep_each_other() -> None:
    model = parse(
        """g (float[N, 3, 8, 6] x) => (float[N, 10, 8, 6] y, float[N, 5, 8, 6] z)
        <float[20, 3, 1, 1] w, float[5, 10, 1, 1] v, int64[2] halves = {10, 10}>
        { h = Conv (x, w)
          a, y = Split <axis = 1> (h, halves)
          z = Conv (a, v) }"""
    )
    assert [g.size for g in analyze(Graph(model)).groups] == [10]
    assert analyze(Graph(model), alike=("Split",)).groups == ()
