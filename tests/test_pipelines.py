"""What docs/pipelines.md hands out: configurations, a workflow, a container; and the tool that shows all of it."""

from __future__ import annotations

import inspect
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

import onnx_attnprune
from onnx_attnprune.cli import main
from tests.test_check_tools import load

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/pipelines.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)


# ---------------------------------------------------------------- configurations
@pytest.mark.parametrize("text", blocks("toml"))
def test_configurations_are_understood(text: str, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(text)
    given = ["in.onnx", "out.onnx", "--config", str(tmp_path / "c.toml")]
    with main.default.make_context("onnx-attnprune", given) as ctx:
        stated = {line.partition("=")[0].strip() for line in text.splitlines() if "=" in line}
        flags = {p.name: p.opts[0].lstrip("-") for p in main.default.params}
        assert stated == {flags[name] for name in ctx.default_map or {}}


# ---------------------------------------------------------------- Olive
def test_the_settings_of_the_olive_pass_are_keywords() -> None:
    (text,) = blocks("json")
    passes = json.loads(text)["passes"].values()
    (ours,) = (dict(p) for p in passes if p["type"] == "OnnxAttnPrune")
    assert set(ours) - {"type"} <= set(inspect.signature(onnx_attnprune.prune).parameters)


# ---------------------------------------------------------------- the workflow
def workflow() -> dict[str, Any]:
    (text,) = blocks("yaml")
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def steps() -> list[dict[str, Any]]:
    return [step for job in workflow()["jobs"].values() for step in job["steps"]]


def test_the_workflow_is_one() -> None:
    for job in workflow()["jobs"].values():
        assert set(job) <= {"runs-on", "needs", "strategy", "env", "timeout-minutes", "steps"}
        assert job["runs-on"]
    for step in steps():
        assert set(step) <= {"name", "id", "if", "uses", "with", "run", "env", "working-directory", "shell"}
        assert ("uses" in step) != ("run" in step)
        assert "with" not in step or "uses" in step
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@v\d+", step.get("uses", "a/b@v1")), step


def test_the_commands_of_the_workflow_are_understood() -> None:
    lines = [line for step in steps() for line in step.get("run", "").splitlines()]
    ours = [shlex.split(line) for line in lines if line.startswith("onnx-attnprune ")]
    assert ours
    made = set()
    for words in ours:
        with main.make_context("onnx-attnprune", words[1:]) as ctx:
            made |= {str(ctx.params["output"]), *map(str, ctx.params["report"])}
    kept = [step["with"]["path"].split() for step in steps() if "upload-artifact" in step.get("uses", "")]
    assert kept
    assert {path for paths in kept for path in paths} <= made


# ---------------------------------------------------------------- the container
def test_the_container_is_made_of_what_is_there() -> None:
    text = (ROOT / "Containerfile").read_text()
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    assert lines[0][0] == "FROM"
    assert {word for word, _ in lines} <= {"FROM", "COPY", "RUN", "USER", "WORKDIR", "ENTRYPOINT"}
    for word, rest in lines:
        if word == "COPY":
            assert all((ROOT / source).exists() for source in rest.split()[:-1]), rest
    project = (ROOT / "pyproject.toml").read_text()
    (extras,) = re.findall(r"/src\[([\w,]+)\]", text)
    assert all(re.search(rf"^{extra} = \[", project, re.M) for extra in extras.split(","))
    assert 'ENTRYPOINT ["onnx-attnprune"]' in text
    assert '\nonnx-attnprune = "onnx_attnprune.cli:main"' in project
    assert "USER root" not in text
    assert "\nUSER " in text


# ---------------------------------------------------------------- tools/check_openvino
openvino = load("tools_check_openvino", "check_openvino")


def row(provider: str, model: str, outcome: str = "measured", took: int = 7) -> dict[str, Any]:
    nodes = {provider: took} if took else {"cpu": 7}
    return {"provider": provider, "model": model, "outcome": outcome, "reason": "why", "placement": {"nodes": nodes},
            "latency": {"median_ms": 2.0}, "speed_up": {"factor": 1.25}}  # fmt: skip  # one object


def report(*rows: dict[str, Any]) -> dict[str, Any]:
    parts = {key: {} for key in ("phone", "accuracy", "drift", "self_check", "speed")}
    return {"output": "out.onnx", "bench": list(rows), **parts}


def test_the_tool_sees_what_is_missing() -> None:
    rows = [row(provider, model) for provider in ("cpu", "openvino") for model in ("in.onnx", "out.onnx")]
    assert list(openvino.missing(report(*rows))) == []
    assert list(openvino.table(report(*rows)))[-1] == "| openvino | 2.000 ms | 2.000 ms | 1.25 | 7 of 7 |"
    assert list(openvino.missing(report(*rows[:3]))) == ["the pruned model on openvino: no row"]
    rows[2] = row("openvino", "in.onnx", "fell back")
    rows[3] = row("openvino", "out.onnx", took=0)
    assert list(openvino.missing({**report(*rows), "phone": None})) == [
        "the original model on openvino: why", "the pruned model on openvino: took no nodes", "no phone",
    ]  # fmt: skip  # one list
