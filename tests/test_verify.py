"""`verify`: right models pass, wrong ones don't, and the report says what is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from click.testing import CliRunner, Result
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnx_attnprune.cli import main
from onnx_attnprune.recovery import RECOVERIES
from tests.oracle import parse
from tests.small import cnn, labelled, run, saved

MODELS = Path(__file__).parents[1] / "models"
CUT = ("--ratio", "0.4", "--round-to", "1", "--scope", "layer")
REFIT = "least-squares"


def net() -> ModelProto:
    """Convolutions with and without a bias, a batch norm, a residual sum, a dense layer; a stored shape."""
    model = parse(
        """g (float[N, 3, 12, 10] x) => (float[N, 7] y)
        <float[20, 3, 3, 3] w1, float[20] b1, float[20] g2, float[20] o2, float[20] m2, float[20] v2,
         float[20, 20, 3, 3] w2, float[36, 20, 1, 1] w3, float[36, 7] w4, float[7] b4>
        { a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
          n = BatchNormalization (a, g2, o2, m2, v2)
          r = Relu (n)
          c = Conv <pads = [1, 1, 1, 1]> (r, w2)
          s = Add (c, r)
          t = Relu (s)
          d = Conv (t, w3)
          p = GlobalAveragePool (d)
          f = Flatten (p)
          e = MatMul (f, w4)
          y = Add (e, b4) }"""
    )
    put(model, "v2", lambda v: np.abs(v) + np.float32(0.5))
    mean = answers(model, samples(64)).mean(axis=0)
    put(model, "b4", lambda b: b - mean)  # so that every class is the likeliest of some samples
    return model


def samples(count: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((count, 3, 12, 10)).astype(np.float32)


def answers(model: ModelProto, x: np.ndarray) -> np.ndarray:
    return np.asarray(ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0])


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network, its plan, and what each way of repair made of it."""
    folder = tmp_path_factory.mktemp("pruned")
    saved(net(), folder)
    saved(cnn(seed=3), folder, "other.onnx")
    data = labelled(folder, x=samples(64), labels=None)
    for recover in RECOVERIES:
        given = ["--calibrate", data] if recover not in ("none", "mean") else []
        plan = folder / f"{recover}.json"
        done = run(folder / "in.onnx", folder / f"{recover}.onnx", *CUT, "--recover", recover, "--plan", plan, *given)
        assert done.exit_code == 0, done.output
    other = run(folder / "other.onnx", folder / "x.onnx", *CUT, "--recover", "none", "--plan", folder / "other.json")
    less = run(folder / "in.onnx", "--dry-run", "--ratio", "0.2", "--round-to", "1", "--plan", folder / "less.json")
    assert other.exit_code == less.exit_code == 0
    return folder


def verify(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["verify", *map(str, arguments)])


def verdicts(done: Result) -> dict[str, tuple[str, str]]:
    """Status and text of each check of a JSON report."""
    return {c["name"]: (c["status"], c["told"]) for c in json.loads(done.stdout)["checks"]}


# ---------------------------------------------------------------- right models
def test_an_exact_cut(pruned: Path) -> None:
    plan = ("--plan", pruned / "none.json", "--recover", "none")
    done = verify(pruned / "in.onnx", pruned / "none.onnx", *plan, "--json")
    assert done.exit_code == 0, done.output
    found = verdicts(done)
    assert {status for status, _ in found.values()} == {"passed"}
    assert list(found) == [
        "interface", "operator sets", "checker", "weights", "surgery", "structure", "equivalence", "outputs",
    ]  # fmt: skip  # one list
    assert "pruned == masked original on random inputs (2x3x12x10)" in found["equivalence"][1]


@pytest.mark.parametrize("recover", RECOVERIES)
def test_every_repair_changes_only_what_it_may(pruned: Path, recover: str) -> None:
    done = verify(pruned / "in.onnx", pruned / f"{recover}.onnx", "--plan", pruned / f"{recover}.json", "--json")
    assert done.exit_code == 0, done.output
    found = verdicts(done)
    again = verify(
        pruned / "in.onnx", pruned / f"{recover}.onnx", "--plan", pruned / f"{recover}.json", "--recover", recover,
        *(["--calibrate", pruned / "data.npz"] if recover not in ("none", "mean") else []),
    )  # fmt: skip  # two lines
    assert again.exit_code == 0, again.output
    if recover == "none":
        assert found["equivalence"][0] == "passed"
    else:
        assert "done again, it gives the same model" in " ".join(again.output.split())
        assert found["equivalence"][0] == "skipped"
        assert "repaired: " in found["equivalence"][1]
        assert found["structure"][0] == found["surgery"][0] == "passed"


def test_without_a_plan(pruned: Path) -> None:
    done = verify(pruned / "in.onnx", pruned / f"{REFIT}.onnx")
    assert done.exit_code == 0
    assert "no --plan says what was removed" in done.stdout
    assert f"verified   {pruned}" in done.stdout.replace("\n", "")


def test_a_repaired_model_is_not_exact(pruned: Path) -> None:
    plan = ("--plan", pruned / f"{REFIT}.json", "--recover", "none")
    done = verify(pruned / "in.onnx", pruned / f"{REFIT}.onnx", *plan, "--json")
    assert done.exit_code == 8
    status, told = verdicts(done)["equivalence"]
    assert status == "failed"
    assert "operands hold other numbers, as after a repair" in told
    assert "nothing was written" not in told


def test_means_over_channels_that_a_repair_lets_go(tmp_path: Path) -> None:
    model = parse(
        """g (float[N, 3, 12, 10] x) => (float[N, 7, 12, 10] y)
        <float[20, 3, 3, 3] w1, float[20] b1, float[7, 20, 1, 1] w2>
        { h = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
          a = Abs (h)
          m = ReduceMean <axes = [1], keepdims = 1> (a)
          t = Mul (h, m)
          y = Conv (t, w2) }""",
        opset=17,
    )
    path, plan = saved(model, tmp_path), tmp_path / "p.json"
    for recover in ("none", "mean", "auto"):
        out = tmp_path / f"{recover}.onnx"
        done = run(path, out, *CUT, "--recover", recover, "--plan", plan)
        assert done.exit_code == 0, done.output
        done = verify(path, out, "--plan", plan, "--recover", recover, "--json")
        assert done.exit_code == 0, done.output
        told = verdicts(done)["equivalence"][1]
        assert ("means over channels were let go" in told) == (recover != "none")
    done = verify(path, tmp_path / "auto.onnx", "--plan", plan, "--recover", "none", "--json")
    assert verdicts(done)["equivalence"][0] == "failed"


# ---------------------------------------------------------------- wrong models
def tensor(model: ModelProto, name: str) -> TensorProto:
    return next(t for t in model.graph.initializer if t.name == name)


def put(model: ModelProto, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    stored = tensor(model, name)
    stored.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(change(numpy_helper.to_array(stored))), name))


def swapped_outputs(model: ModelProto) -> None:
    put(model, "w3", lambda w: w[[1, 0, *range(2, len(w))]])


def swapped_inputs(model: ModelProto) -> None:
    put(model, "w3", lambda w: w[:, [1, 0, *range(2, w.shape[1])]])


def no_bias(model: ModelProto) -> None:
    del model.graph.node[0].input[2]


def stale_shape(model: ModelProto) -> None:
    model.graph.value_info.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, ["N", 20, 12, 10]))


def renamed_input(model: ModelProto) -> None:
    model.graph.input[0].name = model.graph.node[0].input[0] = "image"


def fixed_batch(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4


def other_type(model: ModelProto) -> None:
    put(model, "w4", lambda w: w.astype(np.float64))


def half_precision(model: ModelProto) -> None:
    for name in ("w4",):
        put(model, name, lambda w: w.astype(np.float16))
    model.graph.node.insert(0, helper.make_node("Cast", ["w4"], ["w4_wide"], to=TensorProto.FLOAT))
    next(n for n in model.graph.node if n.output[0] == "e").input[1] = "w4_wide"


def nan_weights(model: ModelProto) -> None:
    put(model, "w2", lambda w: np.where(np.arange(w.size).reshape(w.shape) == 5, np.nan, w).astype(np.float32))


def infinite_bias(model: ModelProto) -> None:
    put(model, "b1", lambda b: np.full_like(b, np.inf))


def one_more_output(model: ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("p", TensorProto.FLOAT, None))


def transposed(model: ModelProto) -> None:
    """The kernel is symmetric in size, so that every shape stays right."""
    put(model, "w2", lambda w: w.transpose(1, 0, 2, 3))


def other_opset(model: ModelProto) -> None:
    model.opset_import[0].version -= 1


def cut_wire(model: ModelProto) -> None:
    model.graph.node[1].input[0] = "nowhere"


def other_wire(model: ModelProto) -> None:
    next(n for n in model.graph.node if n.output[0] == "t").input[0] = "r"


def other_operator(model: ModelProto) -> None:
    next(n for n in model.graph.node if n.output[0] == "t").op_type = "Abs"


def other_padding(model: ModelProto) -> None:
    model.graph.node[0].attribute[0].ints[:] = [0, 2, 2, 0]


def other_channels(model: ModelProto) -> None:
    """One channel less: as another plan would leave."""
    put(model, "w3", lambda w: w[:-1])
    put(model, "w4", lambda w: w[:-1])


def other_weights(model: ModelProto) -> None:
    put(model, "w1", lambda w: w * np.float32(1.01))


def negated(model: ModelProto) -> None:
    model.graph.node.insert(3, helper.make_node("Neg", ["r"], ["r_negated"]))
    next(n for n in model.graph.node if n.output[0] == "c").input[0] = "r_negated"


ORDER = "holds the same numbers in another order"
WRONG: dict[str, tuple[Callable[[ModelProto], None], str, str]] = {
    "swapped output channels": (swapped_outputs, "structure", ORDER),
    "swapped input channels": (swapped_inputs, "structure", ORDER),
    "missing bias": (no_bias, "structure", "operand 2 of node 'a' (Conv), 'b1', is missing"),
    "stale shape": (stale_shape, "checker", "Inferred shape and existing shape differ"),
    "another interface": (renamed_input, "interface", "the inputs were ['x'] and are ['image']"),
    "a fixed batch": (fixed_batch, "interface", "input 'x' has changed its type or shape"),
    "wrong type": (other_type, "checker", "onnx.checker"),
    "half precision": (half_precision, "structure", "is 'w4_wide' instead of 'w4'"),
    "nan weights": (nan_weights, "weights", "'w2' holds nan"),
    "infinite weights": (infinite_bias, "weights", "'b1' holds infinity"),
    "one more output": (one_more_output, "interface", "the outputs were ['y'] and are ['y', 'p']"),
    "transposed weight": (transposed, "structure", ORDER),
    "another operator set": (other_opset, "operator sets", "instead of ai.onnx"),
    "a cut wire": (cut_wire, "checker", "nowhere"),
    "another wire": (other_wire, "structure", "operand 0 of node 't' (Relu) is 'r' instead of 's'"),
    "another operator": (other_operator, "structure", "node 't' is Abs instead of Relu"),
    "another attribute": (other_padding, "structure", "node 'a' (Conv) has another attribute 'pads'"),
    "channels of another plan": (other_channels, "structure", "has the shape"),
    "another weight": (other_weights, "structure", "holds other numbers, and no repair reaches it"),
    "one more node": (negated, "structure", "operand 0 of node 'c' (Conv) is 'r_negated' instead of 'r'"),
}  # fmt: skip  # one a line


@pytest.mark.parametrize("recover", ["none", REFIT])
@pytest.mark.parametrize("name", WRONG)
def test_wrong_models(pruned: Path, tmp_path: Path, name: str, recover: str) -> None:
    break_it, check, told = WRONG[name]
    model = onnx.load(pruned / f"{recover}.onnx")
    break_it(model)
    wrong = saved(model, tmp_path, "wrong.onnx")
    given = []
    if recover == REFIT and told == ORDER:  # a refitted weight has no order of its own, but can be fitted again
        check, told = "repair", "done again (on these samples, if any), it gives another model: y is off by"
        given = ["--recover", REFIT, "--calibrate", pruned / "data.npz"]
    done = verify(pruned / "in.onnx", wrong, "--plan", pruned / f"{recover}.json", "--json", *given)
    assert done.exit_code == 8, done.output
    found = verdicts(done)
    assert found[check][0] == "failed", found
    assert told in found[check][1]
    assert done.stderr.startswith(f"error: {wrong}: failed ")
    assert check in done.stderr
    assert json.loads(done.stdout)["passed"] is False


@pytest.mark.parametrize("name", ["nan weights", "infinite weights", "one more output", "a fixed batch", "stale shape"])
def test_wrong_models_without_a_plan(pruned: Path, tmp_path: Path, name: str) -> None:
    model = onnx.load(pruned / f"{REFIT}.onnx")
    WRONG[name][0](model)
    done = verify(pruned / "in.onnx", saved(model, tmp_path), "--json")
    assert done.exit_code == 8
    assert verdicts(done)[WRONG[name][1]][0] == "failed"


def test_the_plan_of_another_cut(pruned: Path) -> None:
    done = verify(pruned / "in.onnx", pruned / "none.onnx", "--plan", pruned / "less.json", "--json")
    assert done.exit_code == 8
    found = verdicts(done)
    assert (found["surgery"][0], found["structure"][0], found["equivalence"][0]) == ("passed", "failed", "skipped")
    assert "has the shape" in found["structure"][1]


def test_the_plan_of_another_model(pruned: Path) -> None:
    done = verify(pruned / "in.onnx", pruned / "none.onnx", "--plan", pruned / "other.json")
    assert (done.exit_code, done.stdout) == (6, "")
    assert "made for another model" in done.stderr


def test_another_model_altogether(pruned: Path) -> None:
    done = verify(pruned / "in.onnx", pruned / "x.onnx", "--plan", pruned / "none.json", "--json")
    assert done.exit_code == 8
    assert verdicts(done)["structure"][0] == "failed"


def test_a_model_that_does_not_run(pruned: Path, tmp_path: Path) -> None:
    model = onnx.load(pruned / "none.onnx")
    model.graph.node[1].op_type = "Riddle"
    done = verify(pruned / "in.onnx", saved(model, tmp_path), "--json")
    assert done.exit_code == 8
    found = verdicts(done)
    assert found["outputs"][0] == "failed"
    assert found["outputs"][1].startswith("the pruned model does not run: ")


def test_an_original_that_does_not_run(pruned: Path, tmp_path: Path) -> None:
    model = net()
    model.graph.node[1].op_type = "Riddle"
    done = verify(saved(model, tmp_path), pruned / "none.onnx")
    assert (done.exit_code, done.stdout) == (3, "")


def test_outputs_that_overflow(pruned: Path, tmp_path: Path) -> None:
    model = onnx.load(pruned / "none.onnx")
    put(model, "w4", lambda w: w * np.float32(1e38))
    put(model, "w3", lambda w: w * np.float32(1e38))
    done = verify(pruned / "in.onnx", saved(model, tmp_path), "--json")
    assert verdicts(done)["outputs"] == (
        "failed", "another shape or type, or new nan or infinity, on random inputs (2x3x12x10): y",
    )  # fmt: skip  # one pair


# ---------------------------------------------------------------- figures and limits
@pytest.fixture
def data(pruned: Path, tmp_path: Path) -> Path:
    """Samples with the labels that the original gives them."""
    x = samples(90)
    return labelled(tmp_path, x=x, labels=answers(onnx.load(pruned / "in.onnx"), x).argmax(1))


def test_figures(pruned: Path, data: Path, tmp_path: Path) -> None:
    report = tmp_path / "r.json"
    done = verify(pruned / "in.onnx", pruned / f"{REFIT}.onnx", "--eval", data, "--report", report)
    assert done.exit_code == 0, done.output
    for text in ("drift of the outputs on 90 samples", "cosine", "SQNR", "same top-1", "top-1 of 90 samples", "recall"):
        assert text in done.stdout
    found = json.loads(report.read_text())
    assert (found["format"], found["version"], found["passed"]) == ("onnx-attnprune/verification", 1, True)
    assert found["accuracy"]["before"]["top1"] == 1.0
    agreement = found["drift"]["outputs"][0]["top1_agreement"]
    assert agreement == pytest.approx(found["accuracy"]["after"]["top1"])
    before, after = found["confusion"]
    assert sum(count for *_, count in after["cells"]) == 90
    assert all(label == guess for label, guess, _ in before["cells"])
    right = sum(count for label, guess, count in after["cells"] if label == guess)
    assert right / 90 == pytest.approx(agreement)


@pytest.mark.parametrize("option", ["--eval", "--calibrate"])
def test_limits(pruned: Path, data: Path, option: str) -> None:
    models = (pruned / "in.onnx", pruned / "none.onnx")
    found = json.loads(verify(*models, option, data, "--json").stdout)
    share = found["drift"]["outputs"][0]["top1_agreement"]
    assert 0 < share < 1
    like = share
    if option == "--calibrate":  # no value of this network stands out, which is no classifier
        one, two = (answers(onnx.load(m), samples(90)) for m in models)
        like = 1 - float(((one - two) ** 2).sum() / ((one - one.mean(0)) ** 2).sum())
    for limits, code in (
        (("--max-drop", 1 - like + 1e-6), 0), (("--min-agreement", share), 0),
        (("--max-drop", 1 - like - 1e-6), 8), (("--min-agreement", share + 1e-6), 8),
    ):  # fmt: skip  # two a line
        done = verify(*models, option, data, *limits, "--json")
        assert done.exit_code == code, done.output
        name = "largest drop" if limits[0] == "--max-drop" else "least agreement"
        assert verdicts(done)[name][0] == ("passed" if code == 0 else "failed")


@pytest.mark.parametrize(
    ("given", "code", "told"),
    [
        (["--max-drop", "0.1"], 2, "--max-drop needs samples: --eval, or --calibrate"),
        (["--min-agreement", "0.9"], 2, "--min-agreement needs samples"),
        (["--calibrate", "d.npz", "--max-drop", "-1"], 2, "--max-drop -1: must be 0 or more"),
        (["--calibrate", "d.npz", "--max-drop", "nan"], 2, "--max-drop nan: must be 0 or more"),
        (["--calibrate", "d.npz", "--min-agreement", "2"], 2, "--min-agreement 2: a share"),
        (["--recover", "none"], 2, "--recover needs --plan"),
        (["--metric", "a:b"], 2, "--metric judges outputs by the labels of --eval"),
        (["--eval", "none.npz"], 4, "none.npz: no such file"),
        (["--plan", "none.json"], 6, "none.json: can't be read"),
        (["--report", "in.onnx"], 2, "would overwrite an input"),
        (["--report", "no/r.json"], 7, "No such file or directory"),
        (["--provider", "nnapi"], 9, "has no nnapi provider"),
        (["--shape", "x=1x2x3x4"], 2, "the model fixes"),
    ],
)
def test_what_makes_no_sense(
    pruned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], code: int, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("in.onnx", f"{REFIT}.onnx"):
        (tmp_path / name).write_bytes((pruned / name).read_bytes())
    done = verify("in.onnx", f"{REFIT}.onnx", *given)
    assert (done.exit_code, done.stdout) == (code, "")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("which", ["original", "pruned"])
def test_files_that_are_no_models(pruned: Path, tmp_path: Path, which: str) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_text("no model")
    done = verify(*((bad, pruned / f"{REFIT}.onnx") if which == "original" else (pruned / "in.onnx", bad)))
    assert (done.exit_code, done.stdout) == (3, "")
    assert "not an ONNX model" in done.stderr


def test_no_scores_to_agree_on(tmp_path: Path) -> None:
    model = parse(
        """g (float[N, 3, 12, 10] x) => (float[N, 6, 12, 10] y)
        <float[20, 3, 3, 3] w1, float[6, 20, 1, 1] w2>
        { a = Conv <pads = [1, 1, 1, 1]> (x, w1)
          y = Conv (a, w2) }"""
    )
    path = saved(model, tmp_path)
    done = verify(path, path, "--calibrate", labelled(tmp_path, labels=None), "--min-agreement", "0.5")
    assert (done.exit_code, done.stdout) == (4, "")
    assert "no output holds the scores of a classifier" in done.stderr


# ---------------------------------------------------------------- on a trained network
def test_a_drop_that_prune_promises_is_confirmed_on_other_samples(tmp_path: Path) -> None:
    with np.load(MODELS / "fashion_mnist_eval.npz") as found:
        arrays = {name: found[name] for name in found.files}
    for name, which in (("now", slice(0, 1000)), ("later", slice(1000, 2000))):
        np.savez(tmp_path / f"{name}.npz", **{key: array[which] for key, array in arrays.items()})
    with np.load(MODELS / "fashion_mnist_calibration.npz") as found:
        np.savez(tmp_path / "seen.npz", **{name: found[name][:96] for name in found.files})
    model, out, plan = MODELS / "fashion_vgg.onnx", tmp_path / "out.onnx", tmp_path / "p.json"
    limit, seen = ["--max-drop", "0.03"], ["--calibrate", tmp_path / "seen.npz"]
    done = run(model, out, "--eval", tmp_path / "now.npz", *seen, "--plan", plan, *limit, "--json")
    assert done.exit_code == 0, done.output
    macs = json.loads(done.stdout)["macs"]
    assert macs["after"] < 0.8 * macs["before"]
    given = ["--plan", plan, "--recover", "auto", *seen, "--eval", tmp_path / "later.npz"]
    done = verify(model, out, *given, *limit)
    assert done.exit_code == 0, done.output
    assert "top-1 drops by" in done.stdout
    assert "done again, it gives the same model" in " ".join(done.stdout.split())
