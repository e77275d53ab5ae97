"""The check tools: what they call exact, refused, wrong and a crash."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper, numpy_helper

from onnx_attnprune import surgery
from tests.oracle import net, parse

TOOLS = Path(__file__).resolve().parent.parent / "tools"


def load(name: str, file: str) -> ModuleType:
    """A tool as a module."""
    loader = SourceFileLoader(name, str(TOOLS / file))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # the tools import `probing`, and dataclasses look their module up
    loader.exec_module(module)
    return module


probing = load("probing", "probing.py")
operators, variants = load("tools_check_operators", "check_operators"), load("tools_check_variants", "check_variants")
kept = load("tools_measure_kept", "measure_kept")
Outcome = probing.Outcome


def model() -> ModelProto:
    return net("t = Relu (h)", x="float[2, 3, 9, 7] x", w="float[8, 4, 1, 1] w, float[8] b8",
               v="float[2, 8, 1, 1] v", head="p = Conv (x, w0) h = Conv (p, w, b8)")  # fmt: skip  # two lines


# ---------------------------------------------------------------- verdicts
def test_a_sound_cut_is_exact() -> None:
    found = probing.probe("m", model(), probing.Ask())
    assert (found.outcome, found.groups, found.failed) == (Outcome.EXACT, 2, False)
    assert found.macs < 1
    assert found.parameters < 1
    assert found.row().startswith("| m | exact | 2 | 0.")


def wrong(cut: Any) -> Any:
    """A surgery that changes a weight, too."""

    def prune(*args: Any) -> ModelProto:
        pruned = cut(*args)
        for tensor in pruned.graph.initializer:
            if tensor.name == "v":
                tensor.CopyFrom(numpy_helper.from_array(1.2 * numpy_helper.to_array(tensor), "v"))
        return pruned

    return prune


def unsound(cut: Any) -> Any:
    """A surgery that leaves a shape behind."""

    def prune(*args: Any) -> ModelProto:
        pruned = cut(*args)
        pruned.graph.value_info.append(helper.make_tensor_value_info("h", 1, [2, 99, 9, 7]))
        return pruned

    return prune


@pytest.mark.parametrize(("error", "why"), [(wrong, "off by 2.0e-01"), (unsound, "differ in dimension 1")])
def test_a_wrong_cut_is_told(error: Any, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surgery, "prune", error(surgery.prune))
    found = probing.probe("m", model(), probing.Ask())
    assert found.outcome is Outcome.WRONG
    assert why in found.why
    assert probing.summary([found]) == 1


def test_a_traceback_is_a_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surgery, "mask", lambda *_: 1 / 0)
    found = probing.probe("m", model(), probing.Ask())
    assert found.outcome is Outcome.CRASH
    assert found.why.startswith("ZeroDivisionError")
    assert probing.summary([found]) == 1


def test_nothing_to_prune_is_refused_with_what_holds_it() -> None:
    found = probing.probe("m", parse("g (float[2, 8] x) => (float[2, 8] y) <float[8, 8] w> { y = MatMul (x, w) }"),
                          probing.Ask())  # fmt: skip  # two lines
    assert found.outcome is Outcome.REFUSED
    assert {reason for _, reason in found.held} == {"graph input", "graph output"}
    assert [share for share, _ in found.held] == [1.0, 1.0]
    assert probing.summary([found]) == 0
    assert probing.summary([]) == 1, "nothing checked is no success"


def test_rounding_of_a_network_that_multiplies_it() -> None:
    """The sine of a large number is mostly the last bits of it."""
    steep = parse("""g (float[2, 6] x) => (float[2, 2] y) <float[6, 9] w, float[9, 2] v, float big = {2e4}>
    { h = MatMul (x, w) q = MatMul (h, v) s = Sin (q) e = Mul (s, big) y = Sin (e) }""")
    feeds = {"x": np.random.default_rng(0).standard_normal((2, 6)).astype(np.float32)}
    assert probing.rounding(steep, probing.plainly(steep, feeds), feeds) > 1e-4
    assert probing.rounding(model(), *_run(model())) < 1e-6


def _run(m: ModelProto) -> tuple[dict[str, Any], dict[str, Any]]:
    feeds = {"x": np.random.default_rng(0).standard_normal((2, 3, 9, 7)).astype(np.float32)}
    return probing.plainly(m, feeds), feeds


def test_shapes_and_values_as_they_are_given() -> None:
    assert probing.given_shape("x=1x3x48x320") == ("*", "x", (1, 3, 48, 320))
    assert probing.given_shape("*rec*:x=") == ("*rec*", "x", ())
    assert probing.given_value("vad:sr=16000") == ("vad", "sr", 16000.0)


# ---------------------------------------------------------------- the commands
def run(tool: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOOLS / tool), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=TOOLS.parent, check=False)


def test_check_models(tmp_path: Path) -> None:
    (tmp_path / "good.onnx").write_bytes(model().SerializeToString())
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    found = run("check_models", tmp_path / "good.onnx", tmp_path / "bad.onnx")
    assert found.returncode == 0, found.stderr
    assert "| good | exact |" in found.stdout
    assert "| bad | refused |" in found.stdout
    assert found.stdout.endswith("exact: 1, refused: 1\n")


def test_check_variants(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(model().SerializeToString())
    names = "float16,qdq-per-channel,ort-all,transformer-bert"
    found = run("check_variants", tmp_path / "m.onnx", "--only", names)
    assert found.returncode == 0, found.stderr
    assert [f"| m, {name} |" in found.stdout for name in names.split(",")] == [True] * 4
    assert "| m, qdq-per-channel | exact |" in found.stdout
    assert run("check_variants", tmp_path / "m.onnx", "--only", "nonsense").returncode == 2


# ---------------------------------------------------------------- networks around an operator
def case(text: str, *data: Any, results: list[Any]) -> SimpleNamespace:
    return SimpleNamespace(name="test", model=parse(text), data_sets=[(list(data), results)])


def grown(kind: Any, one: SimpleNamespace) -> Any:
    data = operators.widened(one) if kind is operators.Kind.WIDE else one.data_sets[0]
    return operators.Around(one, kind, data)


def test_around_an_operator() -> None:
    x, w = np.ones((2, 3), np.float32), np.ones((3, 5), np.float32)
    one = case("g (float[2, 3] x, float[3, 5] w) => (float[2, 5] y) { y = MatMul (x, w) }", x, w,
               results=[x @ w])  # fmt: skip  # two lines
    assert operators.operator(one) == "MatMul"
    made = grown(operators.Kind.WEIGHTS, one)
    assert {i.name for i in made.graph.input} == {"x_x"}
    assert {"w", "x_w", "y_v"} <= {t.name for t in made.graph.initializer}
    both = grown(operators.Kind.MADE, one)
    assert {i.name for i in both.graph.input} == {"x_x", "w_x"}
    for kind in (operators.Kind.WEIGHTS, operators.Kind.MADE):
        found = operators.check(one, kind, 2)
        assert found.outcome is Outcome.EXACT, found.why
        assert found.groups == 3


def test_around_an_image_with_one_channel() -> None:
    x = np.ones((1, 1, 4, 6), np.float32)
    one = case("g (float[1, 1, 4, 6] x) => (float[1, 1, 2, 3] y) "
               "{ y = MaxPool <kernel_shape=[2,2], strides=[2,2]> (x) }", x, results=[x[:, :, :2, :3]])  # fmt: skip
    assert operators.has_one_channel(one)
    assert operators.check(one, operators.Kind.WEIGHTS, 1).outcome is Outcome.REFUSED
    found = operators.check(one, operators.Kind.WIDE, 2)
    assert (found.outcome, found.groups) == (Outcome.EXACT, 1), found.why


def test_operators_without_a_rule_are_listed() -> None:
    x = np.ones((2, 3), np.float32)
    one = case("g (float[2, 3] x) => (float[2, 3] y) { y = Relu (x) }", x, results=[x])
    two = case("g (float[2, 3] x) => (int64[2, K] y) { y = NonZero (x) }", x, results=[np.zeros((2, 6), np.int64)])
    assert operators.without_rule([one, two]) == ["NonZero"]
    assert operators.row("Relu", [operators.check(one, operators.Kind.WEIGHTS, 1)]) == "| Relu | 1 |  |  |  |  |"
    refused = operators.check(two, operators.Kind.WEIGHTS, 1)
    assert refused.outcome is Outcome.REFUSED
    assert "no rule for NonZero" in refused.why


# ---------------------------------------------------------------- what no group holds
def test_measure_kept_tells_what_no_group_holds_and_why(tmp_path: Path) -> None:
    # p: 3 x 4 (free), u: 4 x 5 under a layer norm, g: 5, b: 5 x 6 (both sides kept), all between free or kept axes.
    text = """g (float[N, 3] x) => (float[N, 6] y) <float[3, 4] p, float[4, 5] u, float[5] g, float[5, 6] b>
    { h = MatMul (x, p) a = MatMul (h, u) n = LayerNormalization (a, g) y = MatMul (n, b) }"""
    path = tmp_path / "held.onnx"
    path.write_bytes(parse(text).SerializeToString())
    found = kept.measured(path, ())
    outside = {" and ".join(sorted(why)): share for why, share in found.parameters.items()}
    assert (found.name, found.groups) == ("held", 1)
    assert outside == {
        "LayerNormalization: normalised over and graph output": pytest.approx(30 / 67),
        "LayerNormalization: normalised over": pytest.approx(5 / 67),
    }
    assert sum(found.macs.values()) == pytest.approx(30 / 62)
    assert found.half == pytest.approx((67 - 2 * 8) / 67)
    assert found.line().startswith("| held | 1 | 52.2% | 48.4% | 76% | 44.8% LayerNormalization")
    done = subprocess.run([sys.executable, TOOLS / "measure_kept", path], capture_output=True, text=True, check=True)
    assert "| LayerNormalization: normalised over | 1 | 52.24% | 48.39% |" in done.stdout
    assert "| graph output | 1 | 44.78% | 48.39% |" in done.stdout


def test_measure_kept_fails_on_what_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "nonsense.onnx"
    path.write_bytes(b"nonsense")
    done = subprocess.run([sys.executable, TOOLS / "measure_kept", path], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "not an ONNX model" in done.stderr


# ---------------------------------------------------------------- tools/check_promises
promises = load("tools_check_promises", "check_promises")


def told(monkeypatch: pytest.MonkeyPatch, after: float, factor: float, failed: tuple[str, ...] = ()) -> None:
    """Commands that say: 93 % right before, 92.5 % after pruning, and `after` on the samples that verify has."""
    run = {
        "accuracy": {"before": {"top1": 0.93, "n": 1000}, "after": {"top1": 0.925}},
        "macs": {"before": 200, "after": 90},
        "speed": {"speedup": 1.6},
    }
    checks = [{"name": name, "status": "failed"} for name in failed]
    verified = {"accuracy": {"before": {"top1": 0.93}, "after": {"top1": after, "n": 1000}}, "checks": checks}
    answers = {"verify": verified, "bench": {"rows": [{}, {"speed_up": {"factor": factor}}]}}
    monkeypatch.setattr(promises, "command", lambda *words, codes=(0,): answers.get(words[0], run))


@pytest.mark.parametrize(
    ("after", "failed", "kept", "verdict"),
    [
        (0.925, (), True, "held"),
        (
            0.9,
            ("largest drop",),
            True,
            "within chance",
        ),  # 2 points more than promised are within chance on 1,000 samples
        (0.88, ("largest drop",), False, "BROKEN"),
        (0.925, ("repair",), False, "BROKEN repair"),
    ],
)
def test_a_promised_drop(
    monkeypatch: pytest.MonkeyPatch, after: float, failed: tuple[str, ...], kept: bool, verdict: str
) -> None:
    told(monkeypatch, after, 1.5, failed)
    row, found = promises.held_drop(Path("net.onnx"), 0.01, (Path("a"), Path("b")), Path("c"), Path())
    assert found == kept
    assert row.endswith(f"| {verdict} |")
    assert row.startswith("| net | drop of at most 0.01 | 45.0% | +0.0050 | ")


@pytest.mark.parametrize(("factor", "kept"), [(1.5, True), (1.38, True), (1.3, False)])
def test_a_promised_latency(monkeypatch: pytest.MonkeyPatch, factor: float, kept: bool) -> None:
    told(monkeypatch, 0.92, factor)
    row, found = promises.held_latency(Path("net.onnx"), 0.7, 1.0, Path("c"), Path())
    assert found == kept
    assert f"| 45.0% | 0.625 | {1 / factor:.3f} in bench |" in row
