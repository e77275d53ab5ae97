"""Which provider each node of a loaded model runs on."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from onnx_attnprune.errors import ModelError
from onnx_attnprune.runtime.failing import told_as
from onnx_attnprune.runtime.providers import short_name
from onnx_attnprune.runtime.session import Optimisation, Session

_RECORD = "session.record_ep_graph_assignment_info"


@dataclass(frozen=True, slots=True)
class Placement:
    """How many nodes run on each provider (by its short name), and which operators on the CPU beside another one."""

    nodes: Mapping[str, int]
    left_to_cpu: tuple[str, ...]

    @classmethod
    def of(cls, found: Sequence[tuple[str, str]], provider: str) -> Placement:
        """From (ONNX Runtime's name of the provider, operator) of each node of a session on a provider."""
        pairs = [(short_name(name), op) for name, op in found]
        on_cpu = {op for name, op in pairs if name == "cpu" and provider != "cpu"}
        return cls(dict(Counter(name for name, _ in pairs)), tuple(sorted(on_cpu)))

    def on(self, provider: str) -> int:
        """How many nodes run on a provider."""
        return self.nodes.get(provider, 0)

    @property
    def all(self) -> int:
        """How many nodes there are."""
        return sum(self.nodes.values())


class PlacedSession(Session):
    """A session that can tell where its nodes run.

    From ONNX Runtime 1.24 on the nodes are those of the graph as it was when the providers took their parts. Before,
    they are those of a profile, in which a part that a provider took counts as one node.
    """

    def _options(self, optimisation: Optimisation, threads: int, sizes: Mapping[str, int]) -> Any:
        import onnxruntime as ort

        options = super()._options(optimisation, threads, sizes)
        if hasattr(ort.InferenceSession, "get_provider_graph_assignment_info"):
            options.add_session_config_entry(_RECORD, "1")
        else:
            options.enable_profiling = True
            # Its name is that of the file; a folder of its own, since the file appears in the working folder otherwise.
            self._folder = tempfile.TemporaryDirectory(prefix="onnx-attnprune-")
            options.profile_file_prefix = str(Path(self._folder.name, "profile"))
        return options

    def placement(self, feeds: Mapping[str, NDArray[Any]]) -> Placement:
        """Where the nodes run. `feeds` are for the one run that a profile needs; the session is of no use after it.

        Raises ModelError when ONNX Runtime tells nothing.
        """
        found = list(self._recorded()) if not hasattr(self, "_folder") else list(self._profiled(feeds))
        if not found:
            raise ModelError("ONNX Runtime does not tell on which provider the nodes run")
        return Placement.of(found, self.provider)

    def _recorded(self) -> Iterator[tuple[str, str]]:
        """(ONNX Runtime's name of the provider, operator) of each node."""
        with told_as(ModelError, "ONNX Runtime can't tell on which provider the nodes run"):
            for part in self._session.get_provider_graph_assignment_info():
                for node in part.get_nodes():
                    yield str(part.ep_name), str(node.op_type)

    def _profiled(self, feeds: Mapping[str, NDArray[Any]]) -> Iterator[tuple[str, str]]:
        self.run(feeds)
        with self._folder, told_as(ModelError, "ONNX Runtime's profile can't be read"):
            events = json.loads(Path(self._session.end_profiling()).read_text())
            seen = {}
            for event in events:
                given = event.get("args", {})
                if event.get("cat") == "Node" and "provider" in given:
                    seen[event["name"]] = str(given["provider"]), str(given["op_name"])
        yield from seen.values()
