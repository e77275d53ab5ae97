"""The package as programs use it: the functions, what they give back, and the examples of the documentation."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnx_attnprune
from onnx_attnprune.api import prune_request
from onnx_attnprune.cli import main
from onnx_attnprune.errors import DeviceError, ModelError, OutputError, PlanError, SettingsError
from tests.small import cnn, files, labelled, saved
from tests.standin.setup import stand_in

ROOT = Path(__file__).parents[1]
QUICK = {"recover": "none", "latency_seconds": 0, "round_to": 1}


def keywords(name: str) -> set[str]:
    parameters = inspect.signature(getattr(onnx_attnprune, name)).parameters.values()
    return {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}


# ---------------------------------------------------------------- names
FUNCTIONS = ["prune", "verify", "inspect", "bench", "sensitivity", "device_check", "device_bundle", "device_run"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_keywords_are_the_flags(name: str) -> None:
    command = main.default if name == "prune" else main
    for word in name.split("_") if name != "prune" else ():
        command = command.commands[word]  # type: ignore[attr-defined]  # of a group
    flags = {p.opts[0].removeprefix("--").replace("-", "_") for p in command.params if p.param_type_name == "option"}
    assert keywords(name) - {"tell"} == flags - {"json", "quiet", "debug", "version", "help", "config"}


def test_usual_values_are_those_of_the_flags() -> None:
    given = {"evaluation": "eval", "calibration": "calibrate", "shapes": "shape"}
    usual = inspect.signature(onnx_attnprune.prune).parameters
    with main.default.make_context("prune", ["in.onnx", "out.onnx"]) as ctx:
        for name, value in ctx.params.items():
            keyword = usual.get(given.get(name, name))
            if keyword is not None and keyword.kind is keyword.KEYWORD_ONLY:
                assert (value or None) == (keyword.default or None), name


def test_public_names() -> None:
    for name in onnx_attnprune.__all__:
        assert getattr(onnx_attnprune, name) is not None
    assert set(dir(onnx_attnprune)) == set(onnx_attnprune.__all__)
    with pytest.raises(AttributeError, match="module 'onnx_attnprune' has no attribute 'prune_request'"):
        onnx_attnprune.prune_request  # noqa: B018 - the look-up is what is tested
    page = (ROOT / "docs/api.md").read_text()
    for name in FUNCTIONS:
        assert getattr(onnx_attnprune, name).__doc__
        assert f"| `{name}(" in page


def test_importing_loads_nothing_heavy() -> None:
    code = "import sys, onnx_attnprune; heavy = {'numpy', 'onnx', 'onnxruntime', 'rich', 'click'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", f"{code}; print(*heavy)"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


# ---------------------------------------------------------------- prune
def test_every_kind_of_model_gives_the_same(tmp_path: Path) -> None:
    path = saved(cnn(), tmp_path)
    results = [onnx_attnprune.prune(m, **QUICK) for m in (path, str(path), path.read_bytes(), cnn())]
    assert [r.report.model for r in results] == [str(path), str(path), "<bytes>", "<ModelProto>"]
    assert {r.report.output for r in results} == {"<ModelProto>"}
    weights = [[t.raw_data for t in r.model.graph.initializer] for r in results]
    assert all(w == weights[0] for w in weights)
    assert files(tmp_path) == {"in.onnx"}
    assert results[0].report.command == (
        f"onnx_attnprune.prune({str(path)!r}, round_to=1, recover='none', latency_seconds=0)"
    )


def test_output_plan_and_save(tmp_path: Path) -> None:
    model = cnn()
    before = model.SerializeToString()
    out = tmp_path / "out.onnx"
    result = onnx_attnprune.prune(model, out, plan=tmp_path / "p.json", report=tmp_path / "r.json", **QUICK)
    assert model.SerializeToString() == before
    assert result.report.output == str(out)
    assert result.model.SerializeToString() == onnx.load(out).SerializeToString()
    assert result.plan["format"] == "onnx-attnprune/plan"
    assert files(tmp_path) == {"out.onnx", "p.json", "r.json"}
    assert result.save(tmp_path / "copy.onnx") == tmp_path / "copy.onnx"
    assert (tmp_path / "copy.onnx").read_bytes() == out.read_bytes()
    with pytest.raises(OutputError, match="No such file or directory"):
        result.save(tmp_path / "no/copy.onnx")
    for again in (result.plan, tmp_path / "p.json", str(tmp_path / "p.json")):
        replayed = onnx_attnprune.prune(cnn(), from_plan=again, recover="none", latency_seconds=0)
        assert replayed.report.channels == result.report.channels


def test_a_dry_run(tmp_path: Path) -> None:
    result = onnx_attnprune.prune(cnn(), tmp_path / "out.onnx", dry_run=True)
    assert result.report.output is None
    assert sum(len(g["removed"]) for g in result.plan["groups"]) > 0
    assert files(tmp_path) == set()
    with pytest.raises(SettingsError, match="a dry run cuts no model"):
        _ = result.model
    with pytest.raises(SettingsError, match="a dry run cuts no model"):
        result.save(tmp_path / "out.onnx")


def test_samples_in_memory(tmp_path: Path) -> None:
    with np.load(labelled(tmp_path)) as found:
        arrays = dict(found)
    stages: list[str] = []
    result = onnx_attnprune.prune(
        cnn(), calibrate=lambda: [{"x": arrays["x"]}], eval=arrays, metric=lambda outputs, labels: float(len(labels)),
        latency_seconds=0, layer_ratio={"w1": 0.5}, shape={"x": [2, 3, 12, 10]}, tell=stages.append,
    )  # fmt: skip  # some keywords a line
    assert result.report.accuracy is not None
    assert result.report.accuracy.after.main == 30
    assert result.report.settings["layer_ratios"] == (("w1", 0.5),)
    assert {"read", "cut", "repair"} <= set(stages)


def test_what_is_left_out_is_chosen_well(tmp_path: Path) -> None:
    def settings(**given: object) -> tuple[float | None, str, str]:
        found = prune_request(tmp_path / "in.onnx", tmp_path / "out.onnx", "", **given).settings
        return found.ratio, found.scope, found.criterion

    assert settings() == (0.3, "global", "attention")
    assert settings(recover="mean") == (0.3, "layer", "attention")
    assert settings(top_k=3) == (None, "layer", "attention")
    assert settings(target_macs=0.5) == (None, "global", "attention")
    assert settings(target_macs=0.5, recover="none") == (None, "layer", "attention")
    assert settings(ratio=0.2, calibrate="s.npz") == (0.2, "global", "obs")
    assert settings(ratio=0.2, calibrate="s.npz", scope="layer") == (0.2, "layer", "obs")
    assert settings(ratio=0.2, calibrate="s.npz", criterion="l1") == (0.2, "global", "l1")
    assert settings(ratio=0.2, calibrate="s.npz", recover="none", criterion="obs") == (0.2, "layer", "obs")
    assert settings(threshold=0.2, calibrate="s.npz") == (None, "layer", "obs")


@pytest.mark.parametrize(
    ("given", "kind", "told"),
    [
        ({"ratio": 2}, SettingsError, "--ratio 2: the share"),
        (
            {"recover": "mean", "calibrate": {"x": 1}, "eval": {"x": 1}},
            SettingsError,
            "--recover mean looks at no data",
        ),
        ({"from_plan": {}, "ratio": 0.2}, SettingsError, "--from-plan has decided what goes: leave out --ratio"),
        ({"from_plan": {}, "layer_ratio": {"w1": 0.1}}, SettingsError, "leave out --layer-ratio"),
        ({"from_plan": {}}, PlanError, "not a plan of onnx-attnprune/plan"),
        ({"shape": {"x": "big"}}, SettingsError, "is no dict of input name to sizes"),
        ({"recover": "prayer"}, SettingsError, "no recovery method is called 'prayer'"),
    ],
)
def test_errors_are_those_of_the_command(
    tmp_path: Path, given: dict[str, object], kind: type[Exception], told: str
) -> None:
    with pytest.raises(kind, match=re.escape(told)):
        onnx_attnprune.prune(cnn(), tmp_path / "out.onnx", **{"latency_seconds": 0, **given})  # type: ignore[arg-type]  # on purpose
    assert files(tmp_path) == set()


def test_what_is_no_model() -> None:
    with pytest.raises(SettingsError, match="a model is a path, bytes or a ModelProto, and no int"):
        onnx_attnprune.inspect(3)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(ModelError, match="no such file"):
        onnx_attnprune.prune("none.onnx", dry_run=True)
    with pytest.raises(onnx_attnprune.AttnPruneError, match="not an ONNX model"):
        onnx_attnprune.inspect(b"no model")


# ---------------------------------------------------------------- the others
def test_verify_inspect_and_bench(tmp_path: Path) -> None:
    result = onnx_attnprune.prune(cnn(), **QUICK)
    found = onnx_attnprune.verify(cnn(), result.model, plan=result.plan, recover="none", report=tmp_path / "v.json")
    assert found.passed, found.failed
    assert (found.original, found.pruned) == ("<ModelProto>", "<ModelProto>")
    assert found.command == (
        "onnx_attnprune.verify(<ModelProto>, <ModelProto>, plan=..., recover='none', "
        f"report={str(tmp_path / 'v.json')!r})"
    )
    other = onnx_attnprune.verify(cnn(), cnn(seed=1), plan=result.plan)
    assert [check.name for check in other.failed] == ["structure"]
    assert onnx_attnprune.inspect(cnn(), graph=tmp_path / "g.svg").model == "<ModelProto>"
    assert files(tmp_path) == {"v.json", "g.svg"}
    measured = onnx_attnprune.bench(cnn(), result.model, batch=2, seconds=0.01)
    assert {row.outcome for row in measured.rows} == {"measured"}


def test_phones(tmp_path: Path) -> None:
    home = stand_in(tmp_path / "home")
    result = onnx_attnprune.prune(cnn(), **QUICK)
    made = onnx_attnprune.device_bundle(cnn(), result.model, tmp_path / "b", plan=result.plan, samples=1)
    assert [model.source for model in made.bundle.models] == ["<ModelProto>", "<ModelProto>"]
    assert made.bundle.command == "onnx_attnprune.device_bundle(<ModelProto>, <ModelProto>, plan=..., samples=1)"
    options = {"adb": home.adb, "tools": home.tools, "provider": "cpu", "repeats": 1, "runs": 1}
    rows = onnx_attnprune.device_run(tmp_path / "b", **options).bench.rows
    assert [row.outcome for row in rows] == ["measured", "measured"]
    assert onnx_attnprune.device_check(cnn(), result.model).models[1].model == "<ModelProto>"
    with pytest.raises(SettingsError, match="one model or two, not at 0"):
        onnx_attnprune.device_check()
    with pytest.raises(DeviceError, match="no phone X"):
        onnx_attnprune.device_run(tmp_path / "b", serial="X", **options)


def test_sensitivity(tmp_path: Path) -> None:
    found = onnx_attnprune.sensitivity(cnn(), criterion="l1", calibrate=labelled(tmp_path), out=tmp_path / "s.json")
    assert (found.model, len(found.groups)) == ("<ModelProto>", 2)


# ---------------------------------------------------------------- the documentation
def examples(page: str) -> Iterator[str]:
    yield from re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / page).read_text(), re.M | re.S)


def shortened(source: str, target: Path, which: slice) -> None:
    with np.load(ROOT / "models" / source) as found:
        np.savez(target, **{name: found[name][which] for name in found.files})


def test_the_examples_of_the_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in.onnx").write_bytes((ROOT / "models/fashion_vgg.onnx").read_bytes())
    shortened("fashion_mnist_calibration.npz", tmp_path / "samples.npz", slice(64))
    shortened("fashion_mnist_eval.npz", tmp_path / "test.npz", slice(512))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    space: dict[str, object] = {}
    for example in examples("api.md"):
        exec(compile(example, "docs/api.md", "exec"), space)
    assert (tmp_path / "out.onnx").is_file()
    for example in examples("data.md"):
        if not example.startswith("# mydata.py"):  # a line out of a recipe, for arrays that are not here
            continue
        (tmp_path / "mydata.py").write_text(example)
        result = onnx_attnprune.prune(
            "in.onnx",
            ratio=0.3,
            calibrate="mydata:batches",
            eval="mydata:test",
            recover="least-squares",
            latency_seconds=0,
        )
        assert result.report.accuracy is not None
        assert result.report.accuracy.before.n == 512
