"""The command: what it prints, its exit codes, and what it leaves behind when something is wrong."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import helper

import onnx_attnprune
from onnx_attnprune import errors
from onnx_attnprune.cli import main, options
from onnx_attnprune.planning import DEPLOYS, HEADS, SCOPES
from onnx_attnprune.recovery import RECOVERIES
from onnx_attnprune.runtime import PROVIDERS
from onnx_attnprune.scoring import CRITERIA, SAMPLED
from tests.oracle import parse
from tests.small import cnn, files, labelled, run, saved

COMMAND = [sys.executable, "-m", "onnx_attnprune"]


# ---------------------------------------------------------------- help
def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = """
import resource, sys
from onnx_attnprune.cli import main
try:
    main(["--help"])
except SystemExit as end:
    assert end.code == 0
heavy = {"numpy", "onnx", "onnxruntime", "rich", "google"} & set(sys.modules)
assert not heavy, heavy
use = resource.getrusage(resource.RUSAGE_SELF)
assert use.ru_utime + use.ru_stime < 0.5, use
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--from-plan" in done.stdout


@pytest.mark.parametrize("width", [80, 100])
def test_help_fits_and_tells_every_exit_code(width: int) -> None:
    text = CliRunner().invoke(main, ["--help"], terminal_width=width).output
    assert all(len(line) <= width for line in text.splitlines())
    for line in (
        "   0  done\n",
        "   8  the self-check failed (of verify: a check)\n",
        " 130  interrupted\n",
        "  onnx-attnprune in.onnx --dry-run",
    ):
        assert line in text
    tree = [errors.AttnPruneError, *errors.AttnPruneError.__subclasses__()]
    for code in {kind.exit_code for kind in tree} | {errors.INTERNAL, errors.INTERRUPTED, errors.TERMINATED}:
        assert f"\n  {code:>4}  " in text


def test_every_option_has_help() -> None:
    assert [p.name for p in main.default.params if p.param_type_name == "option" and not p.help] == []  # type: ignore[attr-defined]  # of options


def test_choices_are_those_of_the_registries() -> None:
    assert set(options.CRITERIA) == {*CRITERIA, *SAMPLED}
    assert set(options.RECOVERIES) == {"auto", *RECOVERIES}
    assert tuple(PROVIDERS) == options.PROVIDERS
    choices = {p.name: getattr(p.type, "choices", ()) for p in main.default.params}
    assert tuple(choices["attention"]) == HEADS
    assert tuple(choices["deploy"]) == tuple(DEPLOYS)
    assert tuple(choices["scope"]) == SCOPES


def test_version_and_module() -> None:
    done = subprocess.run([*COMMAND, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"onnx-attnprune, version {onnx_attnprune.__version__}\n"


# ---------------------------------------------------------------- what it prints
def test_a_report_for_people(tmp_path: Path) -> None:
    done = run(saved(cnn(), tmp_path), tmp_path / "out.onnx", "--eval", labelled(tmp_path))
    assert done.exit_code == 0
    assert done.stderr == ""
    for text in ("channel groups", "kept whole", "parameters", "MACs", "bytes", "top-1 of 30 samples", "self-check"):
        assert text in done.stdout
    assert f"written    {tmp_path}" in done.stdout.replace("\n", "")


def test_json_is_all_of_standard_output(tmp_path: Path) -> None:
    done = run(saved(cnn(), tmp_path), tmp_path / "out.onnx", "--json", "--report", tmp_path / "r.json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["format"] == "onnx-attnprune/report"
    assert done.stdout == (tmp_path / "r.json").read_text()
    assert done.stderr == ""


def test_a_page_beside_the_report(tmp_path: Path) -> None:
    files_ = ("--report", tmp_path / "r.json", "--report", tmp_path / "r.html")
    done = run(saved(cnn(), tmp_path), tmp_path / "out.onnx", "--quiet", "--latency-seconds", "0", *files_)
    assert (done.exit_code, done.output) == (0, "")
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["sha256"] == hashlib.sha256((tmp_path / "in.onnx").read_bytes()).hexdigest()
    page = (tmp_path / "r.html").read_text()
    assert report["sha256"] in page
    assert f"{report['groups'][1]['scores']['cut']:.3f}" in page


def test_quiet_prints_nothing(tmp_path: Path) -> None:
    done = run(saved(cnn(), tmp_path), tmp_path / "out.onnx", "--quiet")
    assert (done.exit_code, done.output) == (0, "")
    assert (tmp_path / "out.onnx").is_file()


def test_every_option_reaches_the_run(tmp_path: Path) -> None:
    text = (
        "--threshold 0.4 --criterion l1 --steps 2 --round-to 2 --min-channels 3 --max-ratio 0.8 --include w1 "
        "--include w2 --exclude w3 --layer-ratio w1=0.5 --attention both --streams keep --ties cut --deploy nnapi "
        "--recover none --shape x=3x3x12x10 --seed 4 --threads 1"
    )
    given = shlex.split(text)  # w3 takes the channels of w2 in
    done = run(saved(cnn(), tmp_path), tmp_path / "out.onnx", "--json", *given)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert {k: v for k, v in report["settings"].items() if k != "shapes"} == {
        "ratio": None, "threshold": 0.4, "top_k": None, "target_macs": None, "target_params": None,
        "target_bytes": None, "target_latency": None, "max_drop": None, "criterion": "l1", "scope": "layer",
        "steps": 2, "round_to": 2, "min_channels": 3, "max_ratio": 0.8, "attention": "both",
        "streams": "keep", "ties": "cut", "deploy": "nnapi",
        "include": ["w1", "w2"], "exclude": ["w3"], "layer_ratios": [["w1", 0.5]], "seed": 4, "provider": "cpu",
        "recover": "none", "threads": 1, "from_plan": None,
    }  # fmt: skip  # a list of settings
    assert [g["kept"] for g in report["groups"]] == [10, 36]
    assert report["shapes"] == {"x": [3, 3, 12, 10]}


@pytest.mark.parametrize(
    ("given", "criterion", "source"),
    [
        ("", "attention", None),
        ("--calibrate {data}", "obs", "30 samples of data.npz"),
        ("--calibrate {data} --criterion l1", "l1", None),
        ("--calibrate {data} --criterion activation --recover none", "activation", "30 samples of data.npz"),
        ("--criterion obs", "obs", "768 procedural samples"),
        ("--criterion obs --steps 2 --scope global", "obs", "768 procedural samples"),
        ("--criterion activation --target-macs 0.6 --round-to 1", "activation", "768 procedural samples"),
    ],
)
def test_criteria_that_go_by_samples_say_which(tmp_path: Path, given: str, criterion: str, source: str | None) -> None:
    data = labelled(tmp_path, labels=None)
    done = run(saved(cnn(), tmp_path), tmp_path / "out.onnx", "--json", *given.format(data=data).split())
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["settings"]["criterion"] == criterion
    notes = [n for n in report["notes"] if n.startswith("scored by")]
    assert [n.startswith(f"scored by {criterion} on {source}") for n in notes] == ([] if source is None else [True])


@pytest.mark.parametrize("recover", ["none", "mean"])
@pytest.mark.parametrize(
    ("given", "criterion", "drift"),
    [
        ("", "attention", "samples.npz"),
        ("--eval {data} --criterion obs", "obs", "data.npz"),
        ("--eval {data} --target-macs 0.6 --round-to 1 --scope global", "attention", "data.npz"),
        ("--max-drop 0.5 --round-to 1", "attention", "samples.npz"),
        ("--from-plan {plan}", None, "samples.npz"),
    ],
)
def test_samples_without_a_repair_that_looks_at_them(
    tmp_path: Path, recover: str, given: str, criterion: str | None, drift: str
) -> None:
    """They are taken wherever something else looks at them: what measures, scores or shares out."""
    path, plan = saved(cnn(), tmp_path), tmp_path / "p.json"
    assert run(path, "--dry-run", "--plan", plan).exit_code == 0
    samples = labelled(tmp_path, 40, "samples.npz", labels=None)
    options = given.format(data=labelled(tmp_path), plan=plan).split()
    done = run(path, tmp_path / "out.onnx", "--json", "--recover", recover, "--calibrate", samples, *options)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["settings"].get("criterion") == (criterion or "attention")
    assert report["drift"]["inputs"].endswith(f" samples of {drift}")


def test_a_plan_by_samples_holds_their_errors_and_can_be_replayed(tmp_path: Path) -> None:
    model, plan = saved(cnn(), tmp_path), tmp_path / "p.json"
    done = run(model, tmp_path / "a.onnx", "--criterion", "obs", "--plan", plan, "--threshold", 0.2, "--round-to", 1)
    assert done.exit_code == 0, done.output
    groups = json.loads(plan.read_text())["groups"]
    assert all(max(g["scores"]) == 1 and all(g["scores"][k] < 0.2 for k in g["removed"]) for g in groups)
    assert run(model, tmp_path / "b.onnx", "--from-plan", plan).exit_code == 0
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


# ---------------------------------------------------------------- bad input
def empty_graph(folder: Path) -> list[object]:
    return [saved(helper.make_model(helper.make_graph([], "g", [], [])), folder), "o.onnx"]


def unprunable(folder: Path) -> list[object]:
    text = "g (float[N, 3] x) => (float[N, 5] y) <float[3, 5] w> { y = MatMul (x, w) }"
    return [saved(parse(text), folder), "o.onnx"]


def unknown_operator(folder: Path) -> list[object]:
    model = cnn()
    model.graph.node[-1].output[0] = "question"
    model.graph.node.append(helper.make_node("Riddle", ["question"], ["y"], domain="of.nobody"))
    model.opset_import.append(helper.make_opsetid("of.nobody", 1))
    return [saved(model, folder), "o.onnx"]


def outside(folder: Path) -> list[object]:
    (folder / "model").mkdir()
    onnx.save(cnn(), folder / "model/in.onnx", save_as_external_data=True, location="w.bin", size_threshold=100)
    model = onnx.load(folder / "model/in.onnx", load_external_data=False)
    (folder / "model/w.bin").rename(folder / "w.bin")
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../w.bin"
    onnx.save(model, folder / "model/in.onnx")
    return [folder / "model/in.onnx", "o.onnx"]


def external_missing(folder: Path) -> list[object]:
    onnx.save(cnn(), folder / "in.onnx", save_as_external_data=True, location="w.bin", size_threshold=100)
    (folder / "w.bin").unlink()
    return [folder / "in.onnx", "o.onnx"]


def file(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def plan_of_another(folder: Path) -> list[object]:
    assert run(saved(cnn(seed=1), folder, "other.onnx"), "--dry-run", "--plan", folder / "p.json").exit_code == 0
    return [saved(cnn(), folder), "o.onnx", "--from-plan", folder / "p.json"]


def plan_of_other_weights(folder: Path) -> list[object]:
    """The model's file is the same, the one beside it is not."""
    path, weights = folder / "in.onnx", folder / "w.bin"
    onnx.save(cnn(), path, save_as_external_data=True, location="w.bin", size_threshold=100)
    assert run(path, "--dry-run", "--plan", folder / "p.json").exit_code == 0
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    return [path, "o.onnx", "--from-plan", folder / "p.json"]


def link_to_input(folder: Path) -> list[object]:
    (folder / "link.onnx").symlink_to("in.onnx")
    return [saved(cnn(), folder), "link.onnx"]


def hard_link_to_input(folder: Path) -> list[object]:
    path = saved(cnn(), folder)
    os.link(path, folder / "link.onnx")
    return [path, "link.onnx"]


def round_links(folder: Path) -> list[object]:
    (folder / "o.onnx").symlink_to("p.onnx")
    (folder / "p.onnx").symlink_to("o.onnx")
    return [saved(cnn(), folder), "o.onnx"]


def folder_as_output(folder: Path) -> list[object]:
    (folder / "o.onnx").mkdir()
    return [saved(cnn(), folder), "o.onnx"]


def model(*more: object) -> Callable[[Path], list[object]]:
    return lambda folder: [saved(cnn(), folder), "o.onnx", *more]


def evaluated(**arrays: object) -> Callable[[Path], list[object]]:
    return lambda folder: [saved(cnn(), folder), "o.onnx", "--eval", labelled(folder, **arrays)]  # type: ignore[arg-type]  # arrays


def calibrated(**arrays: object) -> Callable[[Path], list[object]]:
    return lambda folder: [saved(cnn(), folder), "o.onnx", "--calibrate", labelled(folder, **arrays)]  # type: ignore[arg-type]  # arrays


BAD: dict[str, tuple[int, str, Callable[[Path], list[object]]]] = {
    "missing": (3, "in.onnx: no such file", lambda _: ["in.onnx", "o.onnx"]),
    "a folder": (3, "can't be read: Is a directory", lambda f: [f, "o.onnx"]),
    "no model": (3, "not an ONNX model", lambda f: [file(f, "in.onnx", b"hello, world"), "o.onnx"]),
    "empty file": (3, "not an ONNX model: the file is empty", lambda f: [file(f, "in.onnx", b""), "o.onnx"]),
    "truncated": (3, "truncated", lambda f: [file(f, "in.onnx", cnn().SerializeToString()[:-1000]), "o.onnx"]),
    "empty graph": (3, "the graph is empty", empty_graph),
    "nothing to prune": (5, "no channel group that can be pruned; for one", unprunable),
    "all kept": (5, "leave every channel in place", model("--min-channels", "99")),
    "ratio 0": (2, "--ratio 0: the share", model("--ratio", "0")),
    "ratio 1": (2, "--ratio 1: the share", model("--ratio", "1")),
    "ratio -1": (2, "--ratio -1: the share", model("--ratio", "-1")),
    "ratio nan": (2, "--ratio nan: the share", model("--ratio", "nan")),
    "two budgets": (2, "give one of --ratio", model("--ratio", "0.3", "--threshold", "0.3")),
    "include nothing": (2, "--include 'nix' matches no", model("--include", "nix")),
    "exclude nothing": (2, "--exclude 'nix' matches no", model("--exclude", "nix")),
    "layer-ratio nothing": (2, "--layer-ratio 'nix' matches no", model("--layer-ratio", "nix=0.2")),
    "no output": (2, "no output file given", lambda f: [saved(cnn(), f)]),
    "output is input": (2, "would overwrite an input", lambda f: [saved(cnn(), f), "in.onnx"]),
    "output links to input": (2, "would overwrite an input", link_to_input),
    "output is linked with input": (2, "would overwrite an input", hard_link_to_input),
    "plan is input": (2, "would overwrite an input", model("--plan", "in.onnx")),
    "same outputs": (2, "two outputs have the same path", model("--plan", "./o.onnx")),
    "output is a folder": (7, "o.onnx: is a folder", folder_as_output),
    "output is a device": (7, "not a regular file", lambda f: [saved(cnn(), f), "/dev/null"]),
    "output links in a circle": (7, "can't be written", round_links),
    "output in no folder": (7, "No such file or directory", lambda f: [saved(cnn(), f), "no/o.onnx"]),
    "output under a file": (7, "Not a directory", lambda f: [saved(cnn(), f), "in.onnx/o.onnx"]),
    "output of a long name": (7, "File name too long", lambda f: [saved(cnn(), f), "o" * 300]),
    "report in no folder": (7, "No such file or directory", model("--report", "no/r.json")),
    "report of no form": (2, "--report r.txt: the name must end in .json or .html", model("--report", "r.txt")),
    "reports in one file": (2, "same path", model("--report", "r.json", "--report", "r.json")),
    "labels missing": (4, "no array 'labels'", evaluated(labels=None)),
    "names": (4, "no array x; the model needs x", evaluated(x=None, z=np.zeros((30, 3)))),
    "shapes": (4, "the model takes [samples, 3, 12, 10]", evaluated(x=np.zeros((30, 3, 10, 12), np.float32))),
    "label out of range": (4, "data.npz: label 7 is out of range", evaluated(labels=np.full(30, 7))),
    "pickle": (4, "holds Python objects (a pickle)", evaluated(x=np.array([{}] * 30))),
    "data missing": (4, "no such file", model("--eval", "none.npz")),
    "data no zip": (4, "not an .npz file", lambda f: [saved(cnn(), f), "o.onnx", "--eval", file(f, "d.npz", b"no")]),
    "external outside": (3, "lies outside of the model's folder: '../w.bin'", outside),
    "external missing": (3, "'w.bin' of 'w1' is missing", external_missing),
    "calibration names": (4, "no array x; the model needs x", calibrated(x=None, z=np.zeros((30, 3)))),
    "calibration unused": (2, "--recover mean looks at no data", model(
        "--calibrate", "d.npz", "--recover", "mean", "--eval", "e.npz")),
    "calibration unused by a plan": (2, "--recover none looks at no data", model(
        "--calibrate", "d.npz", "--recover", "none", "--eval", "e.npz", "--from-plan", "p.json")),
    "calibration of infinity": (4, "array x holds infinity", calibrated(x=np.full((30, 3, 12, 10), np.inf))),
    "calibration of too few": (2, "--max-drop needs 16 samples or more without --eval", lambda f: [
        *calibrated(x=np.zeros((15, 3, 12, 10)), labels=None)(f), "--max-drop", "0.1"]),
    "calibration without a name": (4, "a single array without a name; numpy.savez", lambda f: [
        saved(cnn(), f), "o.onnx", "--calibrate", file(f, "d.npy", b"\x93NUMPY\x01\x00")]),
    "calibration missing": (4, "no such file", model("--calibrate", "none.npz")),
    "provider not there": (9, "has no cuda provider", model("--provider", "cuda")),
    "plan missing": (6, "can't be read", model("--from-plan", "none.json")),
    "plan of another": (6, "made for another model", plan_of_another),
    "plan of other weights": (6, "made for another model", plan_of_other_weights),
    "plan and options": (2, "leave out --ratio, --steps", model("--from-plan", "p", "--steps", "2", "--ratio", "0.2")),
    "unknown operator": (3, "ONNX Runtime can't load the model", unknown_operator),
    "unknown input": (2, "the model has no input z", model("--shape", "z=1x2")),
    "shape twice": (2, "--shape is given twice", model("--shape", "x=1x3x12x10", "--shape", "x=2x3x12x10")),
    "quiet json": (2, "contradict", model("--quiet", "--json")),
    "a million threads": (2, "--threads 1000000: must be 0 (automatic)", model("--threads", "1000000")),
    "negative seed": (2, "--seed -1: must be at least 0", model("--criterion", "random", "--seed", "-1")),
    "endless sizes in a plan": (6, "its settings are damaged", lambda f: [
        saved(cnn(), f), "o.onnx", "--from-plan", file(f, "p.json", b'{"format": "onnx-attnprune/plan", "version": 1, '
        b'"settings": {"shapes": {"x": [1e400]}}}')]),
    "negative time": (2, "--latency-seconds -1", model("--latency-seconds", "-1")),
}  # fmt: skip  # one line each


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, told, make = BAD[name]
    if name == "provider not there" and "cuda" in onnx_attnprune.runtime.available_providers():
        pytest.skip("this machine has it")
    arguments = make(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = {path: (tmp_path / path).read_bytes() for path in files(tmp_path) if (tmp_path / path).is_file()}
    there = files(tmp_path)
    done = run(*arguments)
    assert done.exit_code == code, done.output
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert files(tmp_path) == there
    assert {path: (tmp_path / path).read_bytes() for path in before} == before


@pytest.mark.parametrize(
    "wrong",
    [["--ratio", "many"], ["--round-to", "0"], ["--layer-ratio", "w1"], ["--layer-ratio", "=0.3"], ["--shape", "x"],
     ["--shape", "x=1xa"], ["--provider", "abacus"], ["--criterion", "l3"], ["--nix"]],
)  # fmt: skip  # one list
def test_malformed_command_lines(tmp_path: Path, wrong: list[str]) -> None:
    done = run(saved(cnn(), tmp_path), tmp_path / "o.onnx", *wrong)
    assert done.exit_code == 2
    assert "Error: " in done.stderr
    assert files(tmp_path) == {"in.onnx"}


def test_an_unwritable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(cnn(), tmp_path)
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o555)
    if os.access(folder, os.W_OK):  # root may write anywhere

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("tempfile.NamedTemporaryFile", refuse)
    done = run(path, folder / "o.onnx")
    assert (done.exit_code, done.stdout) == (7, "")
    assert done.stderr == f"error: {folder / 'o.onnx'}: can't be written: Permission denied\n"


# ---------------------------------------------------------------- trouble on the way
def test_a_full_disk(tmp_path: Path) -> None:
    """The kernel refuses to write more than some bytes to a file, as it does where the disk is full."""
    path = saved(cnn(), tmp_path)
    (tmp_path / "out.onnx").write_text("what was there")

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))

    arguments = [str(path), str(tmp_path / "out.onnx"), "--plan", str(tmp_path / "p.json"), "--latency-seconds", "0"]
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, preexec_fn=limit)
    assert done.returncode == 7, done.stderr
    assert done.stderr == f"error: {tmp_path / 'out.onnx'}: can't be written: File too large\n"
    assert files(tmp_path) == {"in.onnx", "out.onnx"}
    assert (tmp_path / "out.onnx").read_text() == "what was there"


def test_an_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(cnn(), tmp_path)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("onnx_attnprune.pipeline.run.measure", interrupted)  # the output is staged by then
    done = run(path, tmp_path / "o.onnx", "--plan", tmp_path / "p.json")
    assert (done.exit_code, done.output) == (130, "error: interrupted\n")
    assert files(tmp_path) == {"in.onnx"}


def test_a_signal_to_end_leaves_nothing(tmp_path: Path) -> None:
    """Sent while the output lies staged beside its place; a second one does not disturb the clean-up."""
    path = saved(cnn(), tmp_path)
    done = subprocess.Popen(
        [*COMMAND, path, tmp_path / "o.onnx", "--plan", tmp_path / "p.json", "--latency-seconds", "60"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip  # two lines
    while not any(name.endswith("/p.json") for name in files(tmp_path)):
        assert done.poll() is None, done.communicate()
        time.sleep(0.01)
    done.terminate()
    done.terminate()
    printed, told = done.communicate(timeout=60)
    assert (done.returncode, printed) == (143, "")
    assert told.splitlines()[-1] == "error: ended by a signal (SIGTERM)"
    assert files(tmp_path) == {"in.onnx"}


def test_a_signal_means_again_what_it_meant(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert run(saved(cnn(), tmp_path), "--dry-run").exit_code == 0
    assert signal.getsignal(signal.SIGTERM) is before


def broken(*_: object) -> None:
    raise ZeroDivisionError("division\nby zero")


def test_a_defect_of_the_tool_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnx_attnprune.pipeline.run.measure", broken)
    done = run(saved(cnn(), tmp_path), tmp_path / "o.onnx")
    assert done.exit_code == 70
    assert done.stdout == ""
    assert done.stderr == (
        "internal error: ZeroDivisionError: division by zero; please report it with what --debug prints\n"
    )
    assert files(tmp_path) == {"in.onnx"}


def test_debug_shows_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnx_attnprune.pipeline.run.measure", broken)
    done = run(saved(cnn(), tmp_path), tmp_path / "o.onnx", "--debug")
    assert done.exit_code == 70
    assert "Traceback" in done.stderr
    assert "in broken" in done.stderr
    assert done.stderr.endswith("--debug prints\n")


def test_out_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def large(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("onnx_attnprune.pipeline.run.measure", large)
    done = run(saved(cnn(), tmp_path), tmp_path / "o.onnx")
    assert (done.exit_code, done.stderr) == (1, "error: out of memory\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device here")
@pytest.mark.parametrize("way", [[], ["--json"]])
def test_a_report_that_can_not_be_printed(tmp_path: Path, way: list[str]) -> None:
    path = saved(cnn(), tmp_path)
    arguments = [str(path), str(tmp_path / "o.onnx"), "--latency-seconds", "0", *way]
    with open("/dev/full", "w") as full:
        done = subprocess.run([*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 7
    assert "error: the report can't be printed: No space left on device\n" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device here")
def test_what_can_not_be_printed_is_not_tried_again() -> None:
    """Python flushes once more when it ends, and would end with 120; a short text waits in the buffer until then."""
    code = """import sys
from onnx_attnprune.cli.printing import printing
from onnx_attnprune.errors import OutputError
try:
    with printing():
        print("short")
except OutputError as error:
    sys.exit(error.exit_code)"""
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=buffered
        )
    assert (done.returncode, done.stderr) == (7, "")


@pytest.mark.parametrize("way", [[], ["--json"]])
def test_a_reader_that_goes_away(tmp_path: Path, way: list[str]) -> None:
    path = saved(cnn(), tmp_path)
    arguments = [str(path), str(tmp_path / "o.onnx"), "--latency-seconds", "0", *way]
    with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert (tmp_path / "o.onnx").is_file()
