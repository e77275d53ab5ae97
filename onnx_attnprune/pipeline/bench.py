"""Model files measured side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from onnx_attnprune.errors import AttnPruneError, ModelError, ProviderError, SettingsError
from onnx_attnprune.evaluate.bench import Model, Setup, cases_of, measure_all
from onnx_attnprune.evaluate.feeds import Shape, input_specs
from onnx_attnprune.graph import Graph, external_files, index_limits, read_model
from onnx_attnprune.pipeline.request import Tell
from onnx_attnprune.report import check_outputs, to_json, versions, write_text
from onnx_attnprune.report.bench import Bench
from onnx_attnprune.runtime import check_threads, resolve_provider


@dataclass(frozen=True, slots=True)
class BenchRequest:
    """What a user asks to have measured.

    models: the first is what the others are compared with. batches: for models with a free batch (empty: one sample).
    seconds: for how long each session runs. report: where the figures go as JSON.
    """

    models: tuple[Path, ...]
    providers: tuple[str, ...] = ("cpu",)
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    batches: tuple[int, ...] = ()
    threads: int = 0
    seconds: float = 1.0
    report: Path | None = None
    command: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.seconds < float("inf"):
            raise SettingsError(f"--seconds {self.seconds:g}: must be a number of seconds above 0")
        check_threads(self.threads)
        for what, given in (("--provider", self.providers), ("--batch", self.batches)):
            if len(set(given)) < len(given):
                raise SettingsError(f"{what} {','.join(map(str, given))}: names one twice")
        if any(batch < 1 for batch in self.batches):
            raise SettingsError(f"--batch {','.join(map(str, self.batches))}: every batch is at least 1")


def bench_files(request: BenchRequest, tell: Tell = lambda _: None) -> Bench:
    """Measure every model on every provider at every batch size, in turns.

    What could not be measured is a row with the reason, never a figure of another provider; `failure` makes an error
    of it, which is raised where nothing could be measured. Raises ProviderError for a provider that this build of ONNX
    Runtime lacks, before anything is run, and other subclasses of AttnPruneError for what makes no sense.
    """
    for provider in request.providers:
        resolve_provider(provider)
    if request.report is not None:
        check_outputs([request.report], request.models)
    tell("read")
    models = [_read(path) for path in request.models]
    if request.report is not None:
        check_outputs([request.report], [file for path in request.models for file in external_files(path)])
    _check_names(models, request.shapes)
    cases = [cases_of(model, _own(model, request.shapes), request.batches) for model in models]
    groups = list(zip(*cases, strict=True))  # one a batch size
    rows = measure_all(groups, request.providers, Setup(request.threads, request.seconds), tell)
    found = Bench(request.command, versions(), request.threads, request.seconds, tuple(rows))
    error = failure(found)
    if error is not None and not any(row.outcome == "measured" for row in rows):
        raise error
    if request.report is not None:
        write_text(to_json(found), request.report)
    return found


def failure(bench: Bench) -> AttnPruneError | None:
    """The error that stands for the rows that were not measured; None where all were."""
    missing = [row for row in bench.rows if row.outcome != "measured"]
    if not missing:
        return None
    first = missing[0]
    text = f"{len(missing)} of {len(bench.rows)} not measured: {first.model} on {first.provider}: {first.reason}"
    # A model that does not run on the CPU does not run at all.
    return (ModelError if any(row.provider == "cpu" for row in missing) else ProviderError)(text)


def _read(path: Path) -> Model:
    model = read_model(path)
    return Model(path, input_specs(model), index_limits(Graph(model)))


def _check_names(models: list[Model], shapes: Mapping[str, Shape]) -> None:
    known = {spec.name for model in models for spec in model.specs}
    for name in shapes:
        if name not in known:
            raise SettingsError(f"--shape {name}: no model has such an input; there are: {', '.join(sorted(known))}")


def _own(model: Model, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    names = {spec.name for spec in model.specs}
    return {name: shape for name, shape in shapes.items() if name in names}
