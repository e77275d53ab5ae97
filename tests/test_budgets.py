"""Budgets and the search for the largest cut, from file to file."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import Result

from onnx_attnprune.errors import ModelError, PromiseError
from onnx_attnprune.evaluate.likeness import LIKENESS
from onnx_attnprune.graph import Graph
from onnx_attnprune.grouping import analyze
from onnx_attnprune.pipeline import budgets
from onnx_attnprune.pipeline.search import _chosen, _told
from onnx_attnprune.report import Search, Trial
from tests.oracle import parse
from tests.small import cnn, files, labelled, run, saved


def wide() -> onnx.ModelProto:
    """Three convolutions without biases, so that a repair has to add some."""
    return parse(
        """g (float[N, 3, 12, 10] x) => (float[N, 7] y)
        <float[24, 3, 3, 3] w1, float[40, 24, 3, 3] w2, float[56, 40, 1, 1] w3, float[7, 56] w4>
        { a = Conv <pads = [1, 1, 1, 1]> (x, w1)
          r = Relu (a)
          c = Conv <pads = [1, 1, 1, 1]> (r, w2)
          s = Relu (c)
          d = Conv (s, w3)
          t = Relu (d)
          p = GlobalAveragePool (t)
          f = Flatten (p)
          y = Gemm <transB = 1> (f, w4) }"""
    )


def answers(model: onnx.ModelProto, folder: Path, samples: int) -> Path:
    """Samples labelled with what the model says."""
    import onnxruntime as ort

    x = np.random.default_rng(3).standard_normal((samples, 3, 12, 10)).astype(np.float32)
    y = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    return labelled(folder, x=x, labels=np.asarray(y).argmax(1))


def report(done: Result) -> dict[str, Any]:
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("cost", ["macs", "params", "bytes"])
@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("target", [0.73, 0.31])
def test_a_target_is_kept(tmp_path: Path, cost: str, scope: str, target: float) -> None:
    path, out, shape = saved(wide(), tmp_path), tmp_path / "out.onnx", {"x": (1, 3, 12, 10)}
    given = [f"--target-{cost}", target, "--scope", scope, "--round-to", 2]
    found = report(run(path, out, "--json", *given, "--plan", tmp_path / "plan.json"))
    one, two = onnx.load(path), onnx.load(out)
    share = {
        "macs": analyze(Graph(two), shape).macs({}) / analyze(Graph(one), shape).macs({}),
        "params": sum(np.prod(t.dims) for t in two.graph.initializer if t.data_type == 1)
        / sum(np.prod(t.dims) for t in one.graph.initializer),
        "bytes": out.stat().st_size / path.stat().st_size,
    }[cost]
    assert target - 0.2 < share <= target
    assert found["settings"][f"target_{cost}"] == target
    assert found["repair"]["compensated"] == found["repair"]["consumers"] >= 2
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert plan["settings"][f"target_{cost}"] == target
    assert all((g["size"] - len(g["removed"])) % 2 == 0 for g in plan["groups"])


def test_a_target_in_stages_and_dry(tmp_path: Path) -> None:
    path = saved(wide(), tmp_path)
    found = report(run(path, "--dry-run", "--json", "--target-macs", 0.5, "--steps", 3, "--recover", "none"))
    assert found["macs"]["after"] <= 0.5 * found["macs"]["before"]
    assert found["settings"]["scope"] == "layer"  # no repair, no errors to share by
    assert files(tmp_path) == {"in.onnx"}


def removed(path: Path, *given: object) -> dict[int, int]:
    """How many channels go, by the size of the group."""
    found = report(run(path, "--dry-run", "--json", "--round-to", 2, *given))
    return {g["size"]: g["size"] - g["kept"] for g in found["groups"]}


def test_without_data_a_ratio_comes_from_where_it_costs_least(tmp_path: Path) -> None:
    model = wide()
    weight = next(t for t in model.graph.initializer if t.name == "w1")
    faint = onnx.numpy_helper.to_array(weight).copy()
    faint[12:] *= 1e-3
    weight.CopyFrom(onnx.numpy_helper.from_array(faint, "w1"))
    path = saved(model, tmp_path)
    assert removed(path, "--ratio", 0.25, "--scope", "layer") == {24: 6, 40: 10, 56: 14}
    found = removed(path, "--ratio", 0.25)
    assert found[24] == 12
    assert 28 <= sum(found.values()) <= 32


def test_where_made_up_samples_tell_nothing_each_group_loses_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ModelError("no such row")

    monkeypatch.setattr(budgets, "losses_of", fails)
    path = saved(wide(), tmp_path)
    found = report(run(path, "--dry-run", "--json", "--round-to", 2, "--ratio", 0.25))
    assert [g["size"] - g["kept"] for g in found["groups"]] == [round(g["size"] / 4) for g in found["groups"]]
    assert any("so every group loses the same share (no such row)" in note for note in found["notes"])
    data = tmp_path / "s.npz"
    np.savez(data, x=np.zeros((8, 3, 12, 10), np.float32))
    done = run(path, "--dry-run", "--ratio", 0.25, "--calibrate", data)
    assert (done.exit_code, "no such row" in done.stderr) == (3, True)


def test_smaller_multiples_where_those_of_the_cpu_can_not_keep_it(tmp_path: Path) -> None:
    found = report(run(saved(cnn(), tmp_path), "--dry-run", "--json", "--target-macs", 0.05, "--max-ratio", 0.95))
    assert found["macs"]["after"] <= 0.05 * found["macs"]["before"]
    assert any("leave too much: rounded to multiples of" in note for note in found["notes"])


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        (["--target-macs", 0.001], 5, "--target-macs 0.001 can't be kept: the smallest model that the settings allow"),
        (["--target-macs", 1], 2, "--target-macs 1: the share that is left"),
        (["--target-bytes", "nan"], 2, "--target-bytes nan"),
        (["--target-macs", 0.5, "--ratio", 0.5], 2, "got --ratio, --target-macs"),
        (["--max-drop", -0.1], 2, "--max-drop -0.1"),
        (["--max-drop", 0.1], 2, "--max-drop needs samples"),
        (["--max-drop", 0.1, "--dry-run"], 2, "can't be had with --dry-run"),
        (["--from-plan", "p.json", "--target-params", 0.5], 2, "leave out --target-params"),
    ],
)
def test_what_can_not_be_promised(tmp_path: Path, given: list[object], code: int, said: str) -> None:
    done = run(saved(cnn(), tmp_path), tmp_path / "out.onnx", *given)
    assert done.exit_code == code
    assert said in done.stderr
    assert files(tmp_path) == {"in.onnx"}


# ---------------------------------------------------------------- --max-drop
def test_the_largest_cut_that_loses_no_more(tmp_path: Path) -> None:
    model = wide()
    path, data = saved(model, tmp_path), answers(model, tmp_path, 1200)
    given = ["--max-drop", 0.1, "--eval", data, "--round-to", 4, "--json", "--report", tmp_path / "r.json"]
    found = report(run(path, tmp_path / "out.onnx", *given))
    search, accuracy = found["search"], found["accuracy"]
    taken = search["trials"][search["chosen"]]
    assert (search["samples"], search["measure"]) == (1200, "top-1")
    assert 1 < len(search["trials"]) <= 7
    drop = accuracy["before"]["top1"] - accuracy["after"]["top1"]
    assert taken["drop"] == pytest.approx(drop)
    assert taken["drop"] < taken["most"] <= 0.1
    assert taken["most"] - taken["drop"] == pytest.approx(taken["known"], abs=0.001)
    held = [t["macs"] for t in search["trials"] if t["most"] <= 0.1]
    assert taken["macs"] == min(held) < 1
    points = f"{100 * taken['known']:.1f} points"
    assert any(f"on 1,200 samples, which tell it to {points}: on others, in nine" in n for n in found["notes"])


def test_likeness_where_there_are_no_labels(tmp_path: Path) -> None:
    path, data = saved(wide(), tmp_path), labelled(tmp_path, 80, labels=None)
    done = run(path, tmp_path / "out.onnx", "--max-drop", 0.3, "--calibrate", data)
    assert done.exit_code == 0, done.output
    flat = " ".join(done.stdout.split())
    assert "search: R2 against the original's outputs may drop by 0.3" in flat
    assert re.search(r"on 20 samples, which tell it to \d+\.\d points: on others, in nine cases of ten, \+0\.\d+", flat)
    assert "least squares layer by layer on 60 samples of data.npz" in flat


def test_a_drop_that_can_not_be_kept_says_what_could(tmp_path: Path) -> None:
    model = wide()
    path, data = saved(model, tmp_path), answers(model, tmp_path, 300)
    given = ["--max-drop", 0, "--eval", data, "--recover", "none", "--criterion", "random", "--round-to", 4]
    done = run(path, tmp_path / "out.onnx", *given)
    assert done.exit_code == 5
    told = re.search(
        r"--max-drop 0 can't be kept: at .*, accuracy drops by (0\.\d+) on 300 samples, and .*", done.stderr
    )
    assert told is not None, done.stderr
    drop, most, could = re.findall(r"0\.\d+", done.stderr[told.start(1) :])
    assert float(drop) < float(most) <= float(could) < float(most) + 0.001
    assert files(tmp_path) == {"in.onnx", "data.npz"}


def searched(limit: float, *trials: Trial, vouched: float = 0.0) -> Search:
    return Search(limit, "top-1", 500, vouched, trials, 0)


def test_a_choice_has_to_hold_on_other_samples() -> None:
    trials = Trial(0.5, 0.7, 0.02, 0.03), Trial(0.75, 0.9, 0.01, 0.01), Trial(0.6, 0.8, 0.01, 0.02)
    assert _chosen(searched(0.02, *trials)) == 2
    assert _chosen(searched(0.01, *trials)) == 1
    with pytest.raises(
        PromiseError, match=r"at 75\.0% of the MACs \(90\.0% of the channels\).* drops by 0\.0100"
    ) as told:
        _chosen(searched(0.005, *trials))
    assert str(told.value).endswith("by at most 0.0100 on others: --max-drop 0.01 could be kept")
    assert _chosen(searched(0.02, Trial(0.5, 0.7, 0.93 - 0.91))) == 0  # a metric of which no single sample tells
    with pytest.raises(PromiseError, match="could be kept"):
        _chosen(searched(0.02, Trial(0.5, 0.7, 0.03)))


def test_of_few_samples_the_best_that_they_can_tell() -> None:
    trials = Trial(0.5, 0.7, 0.0, 0.04, 0.04), Trial(0.7, 0.8, 0.0, 0.03, 0.03), Trial(0.9, 0.9, 0.02, 0.05, 0.03)
    few = searched(0.01, *trials, vouched=0.03)
    assert _chosen(few) == 1
    assert "So few can't vouch for 0.01; some 129 samples could" in _told(replace(few, chosen=1))
    nearly = replace(few, measure=LIKENESS, trials=(Trial(0.99, 0.9, 0.0005, 0.0305, 0.03),))
    with pytest.raises(PromiseError) as told:
        _chosen(nearly)
    assert f"{LIKENESS} drops by 0.0005 on 500 samples" in str(told.value)
    assert str(told.value).endswith("0.031 could be kept. So few can't vouch for 0.01; some 129 samples could")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_broken_choice_holds_nothing(bad: float) -> None:
    with pytest.raises(PromiseError, match=f"drops by {bad:.4f}"):
        _chosen(searched(0.9, Trial(0.5, 0.7, bad, bad)))


def redundant(folder: Path) -> tuple[Path, Path]:
    """A network whose second layer says the same thing in half of its channels, and samples for it."""
    model = wide()
    second = next(t for t in model.graph.initializer if t.name == "w2")
    weight = onnx.numpy_helper.to_array(second).copy()
    weight[20:] = weight[:20] * np.linspace(0.5, 2, 20, dtype=np.float32).reshape(-1, 1, 1, 1)
    second.CopyFrom(onnx.numpy_helper.from_array(weight, "w2"))
    return saved(model, folder), labelled(folder, labels=None)


def test_with_samples_a_ratio_is_taken_from_where_it_costs_least(tmp_path: Path) -> None:
    path, data = redundant(tmp_path)
    plan = tmp_path / "plan.json"

    def gone(*given: object) -> list[float]:
        report(run(path, "--dry-run", "--json", "--calibrate", data, "--plan", plan, "--round-to", 4, *given))
        return [len(g["removed"]) / g["size"] for g in json.loads(plan.read_text())["groups"]]

    first, second, third = gone("--ratio", 0.15, "--max-ratio", 0.6)
    assert second == 0.5  # 20 of all 120 channels; 18 were asked for, in multiples of 4
    assert first == third == 0
    assert gone("--ratio", 0.15)[1] == pytest.approx(0.3)  # no group loses more than twice the ratio
    assert gone("--ratio", 0.25, "--scope", "layer") == pytest.approx([0.25, 0.25, 0.25], abs=0.1)
    assert gone("--ratio", 0.5, "--exclude", "w2")[1] == 0
    assert max(gone("--ratio", 0.5, "--max-ratio", 0.2)) <= 0.2  # as much as the bounds allow, and no complaint
