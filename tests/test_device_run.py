"""A bundle run on the stand-in for a phone: the figures, and every way in which there are none."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from onnx_attnprune.cli import main
from onnx_attnprune.phone import TOOLS
from tests.small import cnn, files, saved
from tests.standin.setup import StandIn, stand_in


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two networks that take as long, so that no test rests on which is faster."""
    folder = tmp_path_factory.mktemp("bundle")
    one, two = saved(cnn(), folder, "one.onnx"), saved(cnn(seed=1), folder, "two.onnx")
    done = CliRunner().invoke(main, ["device", "bundle", str(one), str(two), str(folder / "b"), "--samples", "1"])
    assert done.exit_code == 0, done.output
    return folder / "b"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> StandIn:
    return stand_in(tmp_path_factory.mktemp("standin"))


def ran(home: StandIn, bundle: Path, *options: object) -> Result:
    given = [
        "device",
        "run",
        bundle,
        "--adb",
        home.adb,
        "--tools",
        home.tools,
        "--repeats",
        "1",
        "--runs",
        "2",
        *options,
    ]
    done = CliRunner().invoke(main, [str(word) for word in given])
    assert files(home.temporary) == set() or "is left on it" in done.stderr, done.output
    return done


# ---------------------------------------------------------------- figures
def test_figures_of_two_models_on_two_providers(home: StandIn, bundle: Path, tmp_path: Path) -> None:
    home.state("twice as fast")
    report, more = tmp_path / "r.json", ("--threads", "3", "--accelerators-only")
    done = ran(home, bundle, "--provider", "nnapi,cpu", "--repeats", "2", "--json", "--report", report, *more)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == report.read_text()
    told = json.loads(done.stdout)
    assert (told["format"], told["version"]) == ("onnx-attnprune/bench", 1)
    rows = told["rows"]
    assert [(Path(r["model"]).name, r["provider"], r["outcome"]) for r in rows] == [
        (name, provider, "measured") for provider in ("nnapi", "cpu") for name in ("one.onnx", "two.onnx")
    ]
    assert [(r["latency"]["runs"], r["latency"]["median_ms"]) for r in rows] == [(4, 2.0), (4, 1.0)] * 2
    assert [r["per_second"] for r in rows] == [500.0, 1000.0] * 2
    assert all((r["batch"], r["shapes"], r["peak_bytes"]) == (1, {"x": [1, 3, 12, 10]}, 34574336) for r in rows)
    assert [r["speed_up"] and r["speed_up"]["factor"] for r in rows] == [None, 2.0] * 2
    assert all(r["creation_ms"] > 0 for r in rows)
    assert [set(r["placement"]["nodes"]) for r in rows] == [{"nnapi", "cpu"}] * 2 + [{"cpu"}] * 2
    assert rows[0]["placement"]["left_to_cpu"]
    device = told["device"]
    assert (device["name"], device["abi"], device["runtime"]) == ("Acme Anvil 9", "arm64-v8a", "1.22.0")
    (copied,) = [call[3:-1] for call in home.calls() if "push" in call]
    assert [Path(path).name for path in copied] == ["original", "pruned", "libonnxruntime.so", *TOOLS[::-1]]
    # The models take turns, and each turn begins with the next one.
    lines = [call[-1] for call in home.calls() if "times.csv" in call[-1] and " -e " in call[-1]]
    assert all("-m times -r 2 -x 3 " in line for line in lines)
    flagged = [" -i NNAPI_FLAG_CPU_DISABLED " in line for line in lines]
    assert flagged == [" -e nnapi " in line for line in lines]
    turns = [(line.split(" -e ")[1].split()[0], "original" in line) for line in lines]
    order = [(provider, first) for provider in ("nnapi", "cpu") for first in (True, False)]
    assert turns == [*order, *order[1:], order[0]]


def test_a_table_for_people(home: StandIn, bundle: Path) -> None:
    home.state("an old phone")
    done = ran(home, bundle, "--provider", "xnnpack")
    assert (done.exit_code, done.stderr) == (0, "")
    words = " ".join(done.stdout.split())
    for text in (
        "latency, batch 1 (1x3x12x10)",
        "xnnpack leaves operators of one to the CPU",
        "phone Acme Anvil 9, R58M42, Android 14 (arm64-v8a), ONNX Runtime 1.22.0",
        "outputs as computed here, on 1 sample (random values)",
        "all in turns, 1 each of 2 inferences",
    ):
        assert text in words


def test_an_old_phone_can_not_keep_nnapi_off_its_cpu(home: StandIn, bundle: Path) -> None:
    home.state("Android 9")
    done = ran(home, bundle, "--accelerators-only")
    assert done.exit_code == 10
    assert done.stderr == "error: R58M42: --accelerators-only needs Android 10; it has Android 9\n"


def test_tools_that_are_already_there(home: StandIn, bundle: Path) -> None:
    home.state()
    without = ["device", "run", str(bundle), "--adb", str(home.adb), "--provider", "cpu", "--repeats", "1"]
    done = CliRunner().invoke(main, without)
    assert done.exit_code == 10
    assert done.stderr.startswith("error: /data/local/tmp/onnx_test_runner is not there (")
    assert files(home.temporary) == set()


# ---------------------------------------------------------------- a provider that takes nothing
def test_a_provider_that_took_nothing_is_told_and_not_timed(home: StandIn, bundle: Path, tmp_path: Path) -> None:
    home.state("takes nothing of pruned")
    done = ran(home, bundle, "--provider", "nnapi", "--report", tmp_path / "r.json")
    assert done.exit_code == 9
    why = "nnapi took none of the nodes; they run on cpu (by ONNX Runtime's own profile of a run on the phone)"
    assert done.stderr == f"error: 1 of 2 not measured: {bundle.parent}/two.onnx on nnapi: {why}\n"
    assert "nnapi   fell back" in done.stdout
    one, two = json.loads((tmp_path / "r.json").read_text())["rows"]
    assert (one["outcome"], one["latency"] is None) == ("measured", False)
    assert (two["outcome"], two["latency"], two["speed_up"], two["reason"]) == ("fell back", None, None, why)


# ---------------------------------------------------------------- everything that goes wrong with one model
ROWS = {
    "crash": (10, "onnx_test_runner: it crashed (segmentation fault)"),
    "abort": (10, "onnx_test_runner: it crashed (aborted)"),
    "killed": (10, "it was killed, as Android does where memory is short"),
    "old processor": (10, "it was built for a newer processor (illegal instruction)"),
    "garbage": (10, "gives nothing that can be read (exit code 0): [31m ELF ~~~"),
    "silence": (10, "gives nothing that can be read (exit code 0): it prints nothing"),
    "not built": (10, "the tools were built without NNAPI (build.sh --use_nnapi) (NNAPI is not"),
    "unknown provider": (10, "this version of the tools does not know the provider"),
    "no profile": (10, "wrote no profile that can be read: nothing says where the nodes ran"),
    "too few times": (10, "in turn 1: onnxruntime_perf_test wrote 1 of 2 times (it begins with: original,"),
    "wrong outputs": (8, "its outputs are not those computed here, in 1 of 1 samples (limits: "),
}  # fmt: skip  # a line each


@pytest.mark.parametrize("fault", ROWS)
def test_nothing_could_be_measured(fault: str, home: StandIn, bundle: Path, tmp_path: Path) -> None:
    code, told = ROWS[fault]
    home.state(fault)
    done = ran(home, bundle, "--provider", "nnapi", "--report", tmp_path / "r.json")
    assert (done.exit_code, done.stdout) == (code, "")
    assert done.stderr.startswith(f"error: 2 of 2 not measured: {bundle.parent}/one.onnx on nnapi: ")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "r.json").exists()


def test_one_that_fails_does_not_stop_the_other(home: StandIn, bundle: Path) -> None:
    home.state("crash of original")
    done = ran(home, bundle, "--provider", "cpu", "--json")
    assert done.exit_code == 10
    assert "1 of 2 not measured" in done.stderr
    one, two = json.loads(done.stdout)["rows"]
    assert (one["outcome"], one["latency"]) == ("failed", None)
    assert (two["outcome"], two["latency"]["runs"], two["speed_up"]) == ("measured", 2, None)


def test_a_tool_that_hangs_is_stopped_and_told(home: StandIn, bundle: Path) -> None:
    home.state("hang")
    done = ran(home, bundle, "--provider", "cpu", "--timeout", "2")
    assert done.exit_code == 10
    assert "one.onnx on cpu: onnx_test_runner was still running after 2 s, and was stopped (--timeout)" in done.stderr


# ---------------------------------------------------------------- everything that ends the run
ENDS = {
    "missing library": "onnx_test_runner needs the library libonnxruntime.so: put it beside it in --tools",
    "wrong processor": "onnx_test_runner was built for another processor (",
    "storage full": "R58M42: its storage is full: free some space",
    "half a file": "model.onnx was copied, but ",
    "read-only": "R58M42: its /data/local/tmp can't be written to: mkdir: ",
    "disconnected": "R58M42: it was disconnected on the way: check the cable",
}


@pytest.mark.parametrize("fault", ENDS)
def test_nothing_can_be_run(fault: str, home: StandIn, bundle: Path) -> None:
    home.state(fault, after=1)
    done = ran(home, bundle, "--provider", "cpu")
    assert (done.exit_code, done.stdout) == (10, "")
    assert ENDS[fault] in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_phone_that_is_lost_on_the_way(home: StandIn, bundle: Path) -> None:
    home.state("lost on the way", after=8)
    done = ran(home, bundle, "--provider", "cpu")
    assert (done.exit_code, done.stdout) == (10, "")
    assert "R58M42: it was disconnected on the way: check the cable, and keep it awake (error: closed)" in done.stderr
    assert done.stderr.rstrip().endswith(" is left on it")
    subprocess.run(["rm", "-rf", *home.temporary.iterdir()], check=True)


def test_an_interrupt_leaves_nothing(home: StandIn, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from onnx_attnprune.deploy import onphone

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    home.state()
    monkeypatch.setattr(onphone, "_checked", interrupted)
    assert ran(home, bundle).exit_code == 130


# ---------------------------------------------------------------- what makes no sense
BAD: dict[str, tuple[int, str, list[str]]] = {
    "no bundle": (4, "no bundle (it has no manifest.json)", ["."]),
    "no tools": (2, "--tools nowhere: no such folder", ["b", "--tools", "nowhere"]),
    "half of the tools": (2, "--tools b: holds no onnxruntime_perf_test", ["b", "--tools", "b"]),
    "no adb": (10, "no-adb: command not found; install Android's platform-tools", ["b", "--adb", "no-adb"]),
    "provider twice": (2, "--provider cpu,cpu: names one twice", ["b", "--provider", "cpu,cpu"]),
    "threads": (2, "--threads -1: must be 0", ["b", "--threads", "-1"]),
    "no time": (2, "--timeout 0: must be a number of seconds above 0", ["b", "--timeout", "0"]),
    "tolerance": (2, "--tolerance -1: must be 0 or more", ["b", "--tolerance", "-1"]),
    "report over the bundle": (2, "would overwrite an input", ["b", "--report", "b/manifest.json"]),
    "report of no form": (2, "the name must end in .json or .html", ["b", "--report", "r.txt"]),
    "report in no folder": (7, "No such file or directory", ["b", "--report", "no/r.json"]),
}  # fmt: skip  # a line each


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name: str, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, told, arguments = BAD[name]
    monkeypatch.chdir(bundle.parent)
    before = files(bundle.parent)
    done = CliRunner().invoke(main, ["device", "run", *arguments])
    assert (done.exit_code, done.stdout) == (code, ""), done.output
    assert done.stderr.startswith("error: ")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert files(bundle.parent) == before


# ---------------------------------------------------------------- by hand
def test_the_script_of_a_bundle_runs_it(home: StandIn, bundle: Path) -> None:
    home.state()
    places = {**os.environ, "PATH": f"{home.home}:{os.environ['PATH']}"}
    command = ["sh", str(bundle / "run.sh"), str(home.tools), "xnnpack"]
    done = subprocess.run(command, env=places, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    for text in ("== original on xnnpack", "== pruned on xnnpack", "Succeeded: 1", "P50 Latency"):
        assert text in done.stdout
    assert files(home.temporary) == set()
    usage = subprocess.run(command[:2], capture_output=True, text=True, check=False)
    assert (usage.returncode, "sh run.sh TOOLS [PROVIDER]" in usage.stdout) == (2, True)
