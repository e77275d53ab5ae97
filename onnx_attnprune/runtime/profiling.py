"""What ONNX Runtime's profile says of the time of each kernel."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from onnx_attnprune.errors import ModelError
from onnx_attnprune.runtime.failing import told_as
from onnx_attnprune.runtime.session import Optimisation, Session

_END = "_kernel_time"


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel of one run: the name of its node in the optimised graph, its operator and its seconds."""

    name: str
    op: str
    seconds: float


class _Profiled(Session):
    def __init__(self, model: str | Path | bytes, folder: Path, provider: str, threads: int) -> None:
        self._folder = folder
        super().__init__(model, provider=provider, threads=threads)

    def _options(self, optimisation: Optimisation, threads: int, sizes: Mapping[str, int]) -> Any:
        options = super()._options(optimisation, threads, sizes)
        options.enable_profiling, options.profile_file_prefix = True, str(self._folder / "profile")
        return options

    def events(self) -> list[dict[str, Any]]:
        """All that was recorded."""
        found: list[dict[str, Any]] = json.loads(Path(self._session.end_profiling()).read_text())
        return found


def kernels_of(
    model: str | Path | bytes, feeds: Mapping[str, NDArray[Any]], runs: int, *, provider: str = "cpu", threads: int = 0
) -> list[list[Kernel]]:
    """The kernels of each of some runs, in order. Raises ModelError where the model does not run."""
    # A folder of its own, since the file appears in the working folder otherwise.
    with tempfile.TemporaryDirectory(prefix="onnx-attnprune-") as folder:
        session = _Profiled(model, Path(folder), provider, threads)
        for _ in range(runs):
            session.run(feeds)
        with told_as(ModelError, "ONNX Runtime's profile can't be read"):
            events = session.events()
            spans = sorted((e["ts"], e["ts"] + e["dur"]) for e in events if e["name"] == "model_run")
            found = [e for e in events if e.get("cat") == "Node" and e["name"].endswith(_END)]
            return [[_kernel(e) for e in found if start <= e["ts"] <= end] for start, end in spans]


def _kernel(event: Mapping[str, Any]) -> Kernel:
    return Kernel(event["name"].removesuffix(_END), str(event["args"].get("op_name", "")), event["dur"] * 1e-6)
