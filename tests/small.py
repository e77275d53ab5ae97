"""Small networks for the tests of whole runs, and ways to run the command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from click.testing import CliRunner, Result
from onnx import ModelProto

from onnx_attnprune.cli import main
from tests.oracle import parse


def cnn(batch: str = "N", seed: int = 0) -> ModelProto:
    """Two convolutions of 20 and 36 channels, then a classifier of 7 classes: two groups."""
    return parse(
        f"""g (float[{batch}, 3, 12, 10] x) => (float[{batch}, 7] y)
        <float[20, 3, 3, 3] w1, float[20] b1, float[36, 20, 3, 3] w2, float[36] b2, float[7, 36] w3, float[7] b3>
        {{ a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
           r = Relu (a)
           c = Conv <pads = [1, 1, 1, 1]> (r, w2, b2)
           s = Relu (c)
           p = GlobalAveragePool (s)
           f = Flatten (p)
           y = Gemm <transB = 1> (f, w3, b3) }}""",
        seed=seed,
    )


def saved(model: ModelProto, folder: Path, name: str = "in.onnx") -> Path:
    """The path of the model, written."""
    path = folder / name
    onnx.save(model, path)
    return path


def labelled(folder: Path, samples: int = 30, name: str = "data.npz", **arrays: object) -> Path:
    """Random samples for `cnn` with labels; `arrays` replace or join them (None: left out)."""
    rng = np.random.default_rng(0)
    found: dict[str, object] = {
        "x": rng.standard_normal((samples, 3, 12, 10)).astype(np.float32),
        "labels": rng.integers(0, 7, samples),
    }
    found.update(arrays)
    path = folder / name
    np.savez(path, **{k: v for k, v in found.items() if v is not None})
    return path


def run(*arguments: object) -> Result:
    """The command, in this process; measuring takes no time."""
    given = [str(a) for a in arguments]
    if "--latency-seconds" not in given:
        given += ["--latency-seconds", "0"]
    return CliRunner().invoke(main, given)


def files(folder: Path) -> set[str]:
    """Everything in a folder, what is hidden included."""
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*")}
