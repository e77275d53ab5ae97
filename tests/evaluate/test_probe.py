"""The process of its own: what it tells, and what becomes of one that fails, dies or hangs."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from onnx_attnprune.errors import ModelError, ProviderError
from onnx_attnprune.evaluate import probe as module
from onnx_attnprune.evaluate.probe import probe
from onnx_attnprune.runtime import available_providers
from tests.oracle import parse
from tests.small import cnn, saved

FEEDS = {"x": np.ones((2, 3, 12, 10), np.float32)}


def test_what_a_process_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "json.py").write_text("raise RuntimeError('the wrong file')")  # nothing here may be imported
    monkeypatch.chdir(tmp_path)
    found = probe(saved(cnn(), tmp_path), "cpu", 1, {"N": 2}, FEEDS)
    assert found.placement.nodes == {"cpu": 7}
    assert 0 < found.creation_ms < 60_000
    assert found.peak_bytes is None or 0 < found.peak_bytes < 1e9


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the system does not tell")
def test_memory_is_that_of_the_model_alone(tmp_path: Path) -> None:
    """The largest tensor of the second network is 64 MB larger than all of the first; this process is larger still."""
    small = saved(parse("g (float[N, 4] x) => (float[N, 4] y) {y = Neg(x)}"), tmp_path, "small.onnx")
    text = "g (float[N, 4] x) => (float[M, K] y) <int64[2] s = {4000, 1000}> {a = Expand(x, s) b = Neg(a) y = Exp(b)}"
    large = saved(parse(text.replace("float[N, 4] x", "float[N, 1] x")), tmp_path, "large.onnx")
    held = np.ones(200_000_000, np.uint8)
    one = probe(small, "cpu", 1, {}, {"x": np.ones((1, 4), np.float32)})
    two = probe(large, "cpu", 1, {}, {"x": np.ones((1, 1), np.float32)})
    assert held.any()
    assert one.peak_bytes is not None
    assert two.peak_bytes is not None
    assert one.peak_bytes < 30e6
    assert 16e6 < two.peak_bytes - one.peak_bytes < 100e6


def test_bfloat16_reaches_the_process(tmp_path: Path) -> None:
    model = saved(parse("g (bfloat16[N, 3] x) => (bfloat16[N, 3] y) {y = Identity(x)}"), tmp_path)
    feeds = {"x": np.ones((1, 3), ml_dtypes.bfloat16)}
    assert probe(model, "cpu", 1, {}, feeds).placement.all == 1


def test_errors_come_back_as_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.onnx: no such file"):
        probe(tmp_path / "none.onnx", "cpu", 1, {}, FEEDS)
    with pytest.raises(ModelError, match="Got: 5 Expected: 3"):
        probe(saved(cnn(), tmp_path), "cpu", 1, {}, {"x": np.ones((2, 5, 12, 10), np.float32)})


@pytest.mark.skipif("cuda" in available_providers(), reason="this machine has it")
def test_a_provider_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ProviderError, match="no cuda provider"):
        probe(saved(cnn(), tmp_path), "cuda", 1, {}, FEEDS)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (f"import os; os.kill(os.getpid(), {int(signal.SIGSEGV)})", "in.onnx on cpu: its process was ended by SIGSEGV"),
        ("import sys; sys.exit('no such driver')", r"its process ended with code 1 \(no such driver\)"),
        ("import sys; sys.exit(3)", r"its process ended with code 3 \(it said nothing\)"),
    ],
)
def test_a_process_that_dies(code: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHILD", code)
    with pytest.raises(ModelError, match=told):
        probe(saved(cnn(), tmp_path), "cpu", 1, {}, FEEDS)


def test_a_process_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[str]] = []
    original = subprocess.Popen

    def watched(*arguments: Any, **options: Any) -> subprocess.Popen[str]:
        started.append(original(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", watched)
    monkeypatch.setattr(module, "_CHILD", "import time; time.sleep(60)")
    with pytest.raises(ModelError, match=r"not loaded after 0\.2 s"):
        probe(saved(cnn(), tmp_path), "cpu", 1, {}, FEEDS, patience=0.2)
    assert started[0].returncode is not None
    assert sys.executable in started[0].args  # type: ignore[operator]  # a list
