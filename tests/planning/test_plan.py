"""Plan files: written, read again, edited, and refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onnx_attnprune.errors import PlanError
from onnx_attnprune.graph import Graph
from onnx_attnprune.grouping import Analysis, analyze
from onnx_attnprune.planning import Plan, PlannedGroup, Settings, read_plan, to_json
from tests.oracle import parse
from tests.planning.test_select import PICKED
from tests.small import cnn

HASH = "5" * 64


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return analyze(Graph(cnn()))


def plan(analysis: Analysis, **removed: tuple[int, ...]) -> Plan:
    groups = tuple(
        PlannedGroup(g.id, g.name, g.size, removed.get(g.name, ()), (-math.inf, *[0.25] * (g.size - 1)))
        for g in analysis.groups
    )
    return Plan(HASH, {**Settings().as_dict(), "shapes": {"x": [2, 3, 12, 10]}}, groups)


def written(folder: Path, analysis: Analysis, edit: Callable[[dict[str, Any]], None] = lambda _: None) -> Path:
    cuts = {"w1": {"0": [3, 17]}, "b1": {"0": [3, 17]}, "w2": {"1": [3, 17]}}
    document = json.loads(to_json(plan(analysis, w1=(3, 17)), analysis, cuts, []))
    edit(document)
    path = folder / "plan.json"
    path.write_text(json.dumps(document))
    return path


def test_round_trip(tmp_path: Path, analysis: Analysis) -> None:
    file = read_plan(written(tmp_path, analysis))
    assert file.shapes == {"x": (2, 3, 12, 10)}
    found = file.checked(analysis, HASH)
    assert found.groups == plan(analysis, w1=(3, 17)).groups
    assert found.removed == {0: (3, 17)}
    assert found.settings["ratio"] == 0.3


def test_the_text_can_be_compared_line_by_line(analysis: Analysis) -> None:
    cuts = {"w1": {"0": [3]}, "b1": {"0": [3]}}
    text = to_json(plan(analysis, w1=(3,)), analysis, cuts, [])
    other = to_json(plan(analysis, w1=(4,)), analysis, cuts, [])
    assert sum(a != b for a, b in zip(text.splitlines(), other.splitlines(), strict=True)) == 1
    document = json.loads(text)
    assert list(document) == ["format", "version", "model", "settings", "groups", "initializers", "uses", "kept"]
    assert document["groups"][0]["slots"][0] == {"tensor": "w1", "axis": 0, "role": "producer"}
    assert document["groups"][0]["scores"][0] is None
    assert {"tensor": "w3", "axis": 0, "node": "y", "op": "", "why": "graph output"} in document["kept"]


def test_edited_plans(tmp_path: Path, analysis: Analysis) -> None:
    def edit(document: dict[str, Any]) -> None:
        document["groups"][0]["removed"] = [9, 1]
        del document["groups"][0]["scores"], document["initializers"]
        document["groups"][1:] = []

    assert read_plan(written(tmp_path, analysis, edit)).checked(analysis, HASH).removed == {0: (1, 9)}


def group(**entries: object) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["groups"][0].update(entries)


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (group(removed=[20]), "not distinct numbers below 20"),
        (group(removed=[-1]), "not distinct numbers below 20"),
        (group(removed=[1, 1]), "not distinct numbers below 20"),
        (group(removed=[True]), "not distinct numbers below 20"),
        (group(removed=[1.0]), "not distinct numbers below 20"),
        (group(removed=list(range(20))), "would lose all of its 20 channels"),
        (group(removed=[]), "removes nothing"),
        (group(removed=3), "not a plan file .TypeError"),
        (group(scores=["high"]), "not a plan file .ValueError"),
        (group(id=2), "group 2 is not one of the model's 2"),
        (group(id="0"), "group '0' is not one of"),
        (group(size=21), "'w1' of 21 channels there, 'w1' of 20 here"),
        (group(name="w"), "'w' of 20 channels there"),
        (lambda d: d["groups"].append(d["groups"][0]), "stands there twice"),
        (lambda d: d.pop("groups"), "not a plan file .KeyError: 'groups'"),
        (lambda d: d.update(groups=None), "not a plan file .TypeError"),
        (lambda d: d.update(groups=[1]), "not a plan file .TypeError"),
        (lambda d: d["model"].update(sha256="4" * 64), "made for another model .sha256 444444444444…, not 5555"),
        (lambda d: d.pop("model"), "names no model"),
    ],
)
def test_what_does_not_fit_the_model(
    tmp_path: Path, analysis: Analysis, edit: Callable[[dict[str, Any]], None], told: str
) -> None:
    file = read_plan(written(tmp_path, analysis, edit))
    with pytest.raises(PlanError, match=told) as caught:
        file.checked(analysis, HASH)
    assert str(caught.value).startswith(f"{tmp_path / 'plan.json'}: ")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no JSON"),
        ("{", "no JSON"),
        ("[]", "not a plan of onnx-attnprune/plan version 1"),
        ('{"format": "onnx-attnprune/plan", "version": 2}', "not a plan of"),
        ('{"format": "onnx-attnprune/report", "version": 1}', "not a plan of"),
        ('{"format": "onnx-attnprune/plan", "version": 1, "settings": {"shapes": {"x": 3}}}', "settings are damaged"),
        ('{"format": "onnx-attnprune/plan", "version": 1, "settings": []}', "settings are damaged"),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_what_is_no_plan(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(PlanError, match=told):
        read_plan(path)


def test_what_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="can't be read: No such file"):
        read_plan(tmp_path / "none.json")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PlanError, match="no JSON"):
        read_plan(tmp_path / "binary")


def test_a_tensor_without_channels(tmp_path: Path) -> None:
    picked = analyze(Graph(parse(PICKED)))
    path = tmp_path / "plan.json"
    (only,) = picked.groups
    text = to_json(Plan(HASH, {}, (PlannedGroup(0, only.name, 9, (2, 4, 7), ()),)), picked, {}, [])
    path.write_text(text)
    with pytest.raises(PlanError, match=r"would leave a tensor without any channel \(groups w"):
        read_plan(path).checked(picked, HASH)
