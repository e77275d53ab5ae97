"""A result that is of no use names what would be, from file to file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnx_attnprune import prune
from onnx_attnprune.errors import SettingsError
from onnx_attnprune.pipeline import holding
from tests.small import labelled, run, saved
from tests.test_budgets import answers, wide

SAMPLES = 128


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return saved(wide(), tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    x = np.random.default_rng(7).standard_normal((SAMPLES, 3, 12, 10)).astype(np.float32)
    return labelled(tmp_path, name="samples.npz", x=x, labels=None)


def found(path: Path, *given: object) -> tuple[dict[str, Any], list[str]]:
    """What would hold, and the warnings of the run."""
    done = run(path, path.parent / "out.onnx", "--json", "--round-to", 2, *given)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert ("what would hold" in {s["name"] for s in report["stages"]}) or report["holding"] is None
    return report["holding"], report["warnings"]


def test_a_ratio_that_is_too_much_names_one_that_holds(path: Path, data: Path) -> None:
    told, (warning,) = found(path, "--ratio", 0.5, "--calibrate", data)
    assert (told["option"], told["asked"], told["samples"], told["made_up"]) == ("--ratio", 0.5, 32, False)
    assert told["on"] == "32 of 128 samples of samples.npz that the repair did not see"
    first, *others = told["trials"]
    assert (first["amount"], first["value"]) == (0.5, told["value"])
    assert 1 < len(told["trials"]) <= holding.TRIES
    for trial in told["trials"]:
        assert trial["enough"] == (trial["value"] >= told["enough"])
    assert told["holds"] == max(t["amount"] for t in others if t["enough"]) < 0.5
    assert all(t["amount"] > told["holds"] for t in told["trials"] if not t["enough"])
    assert warning.startswith("--ratio 0.5 goes too far for this network: R2 against the original's outputs ")
    assert f"--ratio {told['holds']:g} would hold (" in warning
    assert found(path, "--ratio", told["holds"], "--calibrate", data) == (None, [])


def test_where_labels_tell(path: Path, tmp_path: Path) -> None:
    given = ["--eval", answers(wide(), tmp_path, 200), "--calibrate", tmp_path / "data.npz"]
    told, (warning,) = found(path, "--ratio", 0.6, "--scope", "layer", *given)
    assert told["measure"] == "share of top-1 that is left"
    assert told["on"] == "200 samples of data.npz"
    assert all(t["amount"] < 0.6 for t in told["trials"])  # the result itself need not be made again
    assert "top-1 fell" not in warning


def test_a_target_is_raised(path: Path, data: Path) -> None:
    told, (warning,) = found(path, "--target-macs", 0.3, "--calibrate", data)
    assert told["asked"] == told["trials"][0]["amount"] == 0.3
    assert told["holds"] > 0.3
    assert all(t["macs"] <= t["amount"] for t in told["trials"])
    assert f"--target-macs {told['holds']:g} would hold" in warning


def test_on_made_up_samples_it_is_foretold(path: Path) -> None:
    told, (warning,) = found(path, "--ratio", 0.6)
    assert told["made_up"]
    assert told["trials"] == []
    assert told["holds"] is None
    assert 0 < told["foretold"] < 0.6
    assert "procedural samples" in warning
    assert "may hold, which is foretold and was not tried: made-up samples are not worth tries" in warning
    assert "give some 256 samples of your own with --calibrate" in warning


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_what_is_foretold_hardly_rests_on_what_was_asked_for(path: Path, scope: str) -> None:
    less, more = (found(path, "--ratio", ratio, "--scope", scope)[0]["foretold"] for ratio in (0.4, 0.8))
    assert abs(more - less) < 0.07


def test_where_a_try_takes_too_long(path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "LONG", 0.0)
    told, (warning,) = found(path, "--ratio", 0.8, "--calibrate", data)
    assert told["trials"] == []
    assert told["on"] == "32 of 128 samples of samples.npz"
    assert told["why"].startswith("a try takes about ")
    assert f"--ratio {told['foretold']:g} may hold" in warning


def test_without_tries_it_is_foretold(path: Path, data: Path) -> None:
    told, (warning,) = found(path, "--ratio", 0.8, "--calibrate", data, "--would-hold", "foretell")
    assert (told["trials"], told["holds"], told["why"]) == ([], None, "no tries were wanted")
    assert (
        f"--ratio {told['foretold']:g} may hold, which is foretold and was not tried: no tries were wanted" in warning
    )


def test_nothing_is_judged_where_nobody_wants_it(path: Path, data: Path) -> None:
    done = run(path, path.parent / "out.onnx", "--json", "--ratio", 0.8, "--calibrate", data, "--would-hold", "off")
    report = json.loads(done.stdout)
    assert report["holding"] is None
    assert "what would hold" not in {s["name"] for s in report["stages"]}
    with pytest.raises(SettingsError, match="--would-hold 'never' is not one of try, foretell, off"):
        prune(path, ratio=0.8, would_hold="never")  # type: ignore[arg-type]  # on purpose


def test_where_nothing_less_can_be_cut(path: Path, data: Path) -> None:
    told, (warning,) = found(
        path, "--ratio", 0.5, "--calibrate", data, "--exclude", "w1", "--exclude", "w2", "--round-to", 28
    )
    assert (told["holds"], told["foretold"]) == (None, None)
    assert "and nothing less can be cut" in warning


@pytest.mark.parametrize("given", [("--recover", "none"), ("--recover", "mean", "--ratio", 0.6), ("--threshold", 0.4)])
def test_what_asks_for_no_amount_or_repair_is_left_alone(path: Path, given: tuple[object, ...]) -> None:
    assert found(path, *given)[0] is None


def test_a_plan_is_left_alone(path: Path, data: Path) -> None:
    plan = path.parent / "plan.json"
    assert found(path, "--ratio", 0.5, "--calibrate", data, "--plan", plan)[0] is not None
    done = run(path, path.parent / "again.onnx", "--json", "--from-plan", plan, "--calibrate", data)
    assert json.loads(done.stdout)["holding"] is None
    assert onnx.load(path.parent / "again.onnx").graph.node


@pytest.mark.parametrize("samples", [20, 40])
def test_too_few_samples_to_judge_on(path: Path, tmp_path: Path, samples: int) -> None:
    told, _ = found(path, "--ratio", 0.5, "--calibrate", labelled(tmp_path, samples, labels=None))
    assert told is None
