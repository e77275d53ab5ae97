"""The benchmark tools: what they measure, what they count, and what they do with files that are no models."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from onnx_attnprune.evaluate.latency import Latency
from onnx_attnprune.graph import Graph, read_model
from onnx_attnprune.grouping import analyze

TOOLS = Path(__file__).resolve().parent.parent / "tools"


def load(name: str) -> ModuleType:
    """A tool as a module, though its file has no suffix."""
    loader = SourceFileLoader(f"tools_{name}", str(TOOLS / name))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[loader.name] = module  # dataclasses look their module up
    loader.exec_module(module)
    return module


speed, latency = load("bench_speed"), load("bench_latency")


def run(tool: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOOLS / tool), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two convolutions with 24 channels between them, and a free batch."""
    proto = parser.parse_model(
        """<ir_version: 9, opset_import: ["" : 17]>
        net (float[n, 5, 11, 13] x) => (float[n, 7, 7, 9] y) <float[24, 5, 3, 3] w, float[7, 24, 3, 3] v>
        { h = Conv(x, w) r = Relu(h) y = Conv(r, v) }"""
    )
    del proto.graph.initializer[:]
    rng = np.random.default_rng(0)
    for name, shape in (("w", (24, 5, 3, 3)), ("v", (7, 24, 3, 3))):
        proto.graph.initializer.append(numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name))
    path = tmp_path_factory.mktemp("model") / "two.onnx"
    onnx.save(proto, path)
    return path


@pytest.fixture
def nonsense(tmp_path: Path) -> Path:
    path = tmp_path / "nonsense.onnx"
    path.write_bytes(b"nonsense")
    return path


# ---------------------------------------------------------------- bench_speed
def test_speed_prints_every_stage_and_what_it_could_not_measure(model: Path, nonsense: Path) -> None:
    result = run("bench_speed", model, nonsense, "--repeat", "2", "--clock", "cpu")
    assert result.returncode == 1
    lines = result.stdout.splitlines()
    times, memory = [k for k, line in enumerate(lines) if line.startswith("| network")]
    stages = ["load + save", "read", "analyse", "score", "plan", "cut", "write"]
    assert cells(lines[times])[2:9] == cells(lines[memory])[1:8] == stages
    name, size, *spent = cells(lines[times + 2])
    assert name == "two"
    assert float(size) == pytest.approx(model.stat().st_size / 1e6, abs=0.05)
    assert all(float(s) >= 0 for s in spent)
    highest = [float(m) for m in cells(lines[memory + 2])[1:]]
    assert highest[1:7] == sorted(highest[1:7])  # the highest so far
    assert lines[-1].startswith(f"not measured: {nonsense}")
    assert "not an ONNX model" in lines[-1]


def row(name: str, **seconds: float) -> Any:
    spent = {"load + save": 0.010, **dict.fromkeys(speed.STAGES, 0.001), **seconds}
    return speed.Row(
        name, 1_000_000, spent, {**dict.fromkeys(spent, 1_500_000), "cut": 1_000_000 + int(seconds["cut"] * 1e8)}
    )


def test_speed_compares_surgery_with_load_and_save() -> None:
    rows = [row("a", cut=0.004), row("b", cut=0.010, score=0.030), row("c", cut=0.006, read=7.0, write=7.0)]
    assert [r.surgery for r in rows] == pytest.approx([0.6, 1.2, 0.8])
    assert [r.scoring for r in rows] == pytest.approx([0.1, 3.0, 0.1])
    assert [r.peak for r in rows] == pytest.approx([1.5, 2.0, 1.6])
    lines = speed.report(rows).splitlines()
    assert [cells(line)[-2:] for line in lines if "median" in line or "worst" in line][:2] == [
        ["0.80", "0.10"],
        ["1.20", "3.00"],
    ]
    assert lines[-1] == "Surgery costs more than load + save on 1 of 3: b"


def test_speed_tells_scoring_from_planning(model: Path, tmp_path: Path) -> None:
    ticks = iter(range(1000))
    marks = speed.Marks(lambda: float(next(ticks)))
    speed.run_tool(model, tmp_path / "out.onnx", 0.3, "l1", marks)
    # Each look at the clock is a second: scoring takes one, and planning one on either side of it.
    assert marks.seconds == {"read": 1, "analyse": 1, "score": 1, "plan": 2, "cut": 1, "write": 1}
    assert read_model(tmp_path / "out.onnx").graph.initializer[0].dims[0] == 16  # 0.3 of 24 are 7, rounded to 8


# ---------------------------------------------------------------- bench_latency
def test_latency_prints_both_roundings_and_the_peer(model: Path, nonsense: Path, tmp_path: Path) -> None:
    peers = tmp_path / "peers"
    peers.mkdir()
    (peers / model.name).write_bytes(model.read_bytes())
    result = run("bench_latency", model, nonsense, "--round-to", "8", "--seconds", "0", "--peer-dir", peers)
    assert result.returncode == 1
    head, _, line, _, *tail = result.stdout.splitlines()
    kinds = ["multiples of 8", "exact", "peer"]
    assert cells(head) == ["network", "unpruned, ms", *(c for k in kinds for c in (f"{k}, ms", "MACs", "speed-up"))]
    found = cells(line)
    assert found[0] == "two"
    assert found[3::3] == ["0.67", "0.71", ""]  # 16 and 17 of 24 channels; nobody counts the peer's
    assert all(float(figure) > 0 for figure in found[1:2] + found[2::3] + found[4::3])
    assert [line.split(":")[0] for line in tail] == [*kinds, "not measured"]


def test_latency_feeds_one_sample(model: Path) -> None:
    assert latency.one_sample(read_model(model), {}) == {"x": (1, 5, 11, 13)}
    assert latency.one_sample(read_model(model), {"x": (3, 5, 11, 13)}) == {"x": (3, 5, 11, 13)}


@pytest.mark.parametrize(("speedups", "expected", "calls"), [([1.2], 1.2, 1), ([0.8, 1.1, 1.3], 1.1, 3)])
def test_latency_asks_twice_again_where_it_is_slower(
    speedups: Sequence[float], expected: float, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = list(speedups)

    def measured(*_: object, **__: object) -> tuple[Latency, Latency, float]:
        return Latency.of([0.002]), Latency.of([0.001]), left.pop(0)

    monkeypatch.setattr(latency, "measure_pair", measured)
    assert latency.time_pair(None, None, {}, 0.0) == (expected, 2.0, 1.0)
    assert len(speedups) - len(left) == calls


def test_latency_counts_what_got_slower() -> None:
    timed = [latency.Timed(s, 2.0, 2.0 / s, 0.5) for s in (0.5, 1.0, 2.0)]
    text = latency.report({name: {"exact": t} for name, t in zip("abc", timed, strict=True)}, ["exact"])
    assert text.splitlines()[-1] == "exact: median 1.00, geometric mean 1.00; slower: 1 of 3: a (0.50)"


def test_latency_prunes_to_multiples(model: Path) -> None:
    analysis = analyze(Graph(read_model(model)), {"x": (1, 5, 11, 13)})
    assert [latency.pruned(analysis, 0.3, m)[1] for m in (8, 1)] == pytest.approx([16 / 24, 17 / 24])


# ---------------------------------------------------------------- bench_cuda
cuda = load("bench_cuda")


def test_cuda_says_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["bench_cuda"])
    monkeypatch.setenv("PATH", "")
    assert cuda.main() == 9
    assert "no NVIDIA GPU here" in capsys.readouterr().err


@pytest.mark.parametrize("library", [0, 1])
def test_cuda_installs_prunes_and_measures(library: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []

    def run(command: Sequence[Any], **_: Any) -> subprocess.CompletedProcess[str]:
        log.append(" ".join(Path(part).name if isinstance(part, Path) else str(part) for part in command))
        said = "GPU 0: NVIDIA H100" if command[0] == "nvidia-smi" else ""
        code = library if "libnvinfer" in str(command[-1]) else 3 if "bad.onnx" in log[-1] else 0
        return subprocess.CompletedProcess(command, code, said, "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(cuda, "PYTHON", tmp_path / "bin/python")
    monkeypatch.setattr(sys, "argv", ["bench_cuda", "bad.onnx", "m.onnx", "--ratio", "0.5", "--out", str(tmp_path)])
    assert cuda.main() == 3
    assert log[0] == "nvidia-smi --list-gpus"
    assert "onnxruntime-gpu[cuda,cudnn]" in log[2]
    providers = "cpu,cuda" if library else "cpu,cuda,tensorrt"
    bad, pruning, measuring = log[4:]
    assert " bench " not in bad
    assert pruning == f"python -m onnx_attnprune m.onnx {tmp_path}/m_pruned.onnx --ratio 0.5 --provider cuda --quiet"
    assert measuring == (
        f"python -m onnx_attnprune bench m.onnx {tmp_path}/m_pruned.onnx --provider {providers} --batch 1,32 "
        f"--seconds 2 --report {tmp_path}/m.json"
    )


# ---------------------------------------------------------------- deliberate errors
def test_deliberate_errors_fit_the_code_and_reach_every_rule() -> None:
    """`tools/mutants` runs them, which takes an hour; a line of code that has changed since is told of here."""
    mutants = load("mutants")
    listed = [m for path in sorted((TOOLS / "mutations").glob("*.py")) for m in mutants.mutants_of(path)]
    assert len(listed) > 400
    assert [told for m in listed if (told := mutants._stale(m))] == []
    assert mutants.rules_without(listed) == []
