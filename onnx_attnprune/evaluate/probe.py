"""A model on a provider in a process of its own: what it takes to load it, its memory, and where its nodes run.

The memory of a process tells of one model only where it has loaded no other; and a provider that brings its process
down (a driver that does not fit) must not take the measurement with it.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune import errors
from onnx_attnprune.errors import AttnPruneError, ModelError
from onnx_attnprune.runtime import PlacedSession, Placement, resolve_provider

Array = NDArray[Any]
PATIENCE = 1800.0  # seconds; TensorRT may build its engine for many minutes
RUNS = 3  # the first allocates, and the second may allocate again for what the first has told
# -I: nothing in the working folder must get in the way of what is imported here.
_CHILD = """import json, sys
given = json.load(sys.stdin)
sys.path[:] = given.pop("path")
from onnx_attnprune.evaluate.probe import child
child(**given)"""


@dataclass(frozen=True, slots=True)
class Probe:
    """What loading takes, in a fresh process.

    creation_ms: of the session, with all that the provider does once. peak_bytes: the largest memory of the process
    beyond what it held before (ONNX Runtime itself, the inputs); None where the system does not tell. GPU memory is
    not in it.
    """

    creation_ms: float
    peak_bytes: int | None
    placement: Placement


def probe(
    model: Path, provider: str, threads: int, sizes: Mapping[str, int], feeds: Mapping[str, Array],
    patience: float = PATIENCE,
) -> Probe:  # fmt: skip  # two lines
    """Load and run a model in a process of its own.

    Raises what loading or running it there raises, and ModelError where the process is brought down or takes longer
    than `patience` seconds.
    """
    with tempfile.TemporaryDirectory(prefix="onnx-attnprune-") as name:
        folder = Path(name)
        types = {k: array.dtype.name for k, array in feeds.items()}
        for k, array in enumerate(feeds.values()):
            np.save(folder / f"{k}.npy", array)
        given = {
            "path": sys.path, "model": str(model), "provider": provider, "threads": threads, "sizes": dict(sizes),
            "types": types, "folder": name,
        }  # fmt: skip  # two lines
        what = f"{model} on {provider}"
        command = [sys.executable, "-I", "-c", _CHILD]
        try:
            done = subprocess.run(
                command, input=json.dumps(given), text=True, capture_output=True, timeout=patience, check=False
            )
        except subprocess.TimeoutExpired:
            raise ModelError(f"{what}: not loaded after {patience:g} s") from None
        result = folder / "result.json"
        if not result.is_file():
            raise ModelError(f"{what}: its process {_end(done)}")
        return _told(json.loads(result.read_text()))


def _end(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode < 0:
        return f"was ended by {signal.Signals(-done.returncode).name}"
    last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    return f"ended with code {done.returncode} ({last[:200]})"


def _told(result: Mapping[str, Any]) -> Probe:
    if "error" in result:
        kind = getattr(errors, result["error"])
        raise kind(result["text"])
    placement = Placement(result["placement"]["nodes"], tuple(result["placement"]["left_to_cpu"]))
    return Probe(result["creation_ms"], result["peak_bytes"], placement)


def child(
    model: str, provider: str, threads: int, sizes: Mapping[str, int], types: Mapping[str, str], folder: str
) -> None:
    """What the process does: it leaves result.json in `folder`, with the probe or with an error of ours."""
    try:
        feeds = {name: _array(Path(folder, f"{k}.npy"), kind) for k, (name, kind) in enumerate(types.items())}
        result: dict[str, Any] = asdict(_look(Path(model), provider, threads, sizes, feeds))
    except AttnPruneError as error:
        result = {"error": type(error).__name__, "text": str(error)}
    Path(folder, "result.json").write_text(json.dumps(result))


def _array(path: Path, kind: str) -> Array:
    import ml_dtypes

    array: Array = np.load(path)
    # A .npy file does not know the types of ml_dtypes, and gives back bytes.
    return array.view(getattr(ml_dtypes, kind)) if array.dtype.kind == "V" else array


def _look(model: Path, provider: str, threads: int, sizes: Mapping[str, int], feeds: Mapping[str, Array]) -> Probe:
    resolve_provider(provider)  # which imports ONNX Runtime, so that its own memory is there before
    before = _memory("VmRSS")
    start = time.perf_counter()
    session = PlacedSession(model, provider=provider, threads=threads, sizes=sizes)
    creation = time.perf_counter() - start
    run = session.prepared(feeds)
    for _ in range(RUNS):
        run()
    peak = _memory("VmHWM")
    own = None if before is None or peak is None else max(peak - before, 0)
    return Probe(creation * 1e3, own, session.placement(feeds))


def _memory(which: str) -> int | None:
    """Bytes of resident memory of this process, now (VmRSS) or at most so far (VmHWM). Linux only.

    `getrusage` counts what the process was before it became this program, too.
    """
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    for line in status.read_text().splitlines():
        if line.startswith(f"{which}:"):
            return int(line.split()[1]) * 1024
    return None
