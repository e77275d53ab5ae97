"""A bundle made of an original and a pruned model file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from onnx_attnprune.deploy.bundle import MANIFEST, PLAN, ROLES, Bundle, hashes, manifest_of
from onnx_attnprune.deploy.bundling import Part, put_part, samples_of
from onnx_attnprune.deploy.byhand import papers
from onnx_attnprune.errors import DataError, ModelError, SettingsError
from onnx_attnprune.evaluate.data import Dataset
from onnx_attnprune.evaluate.feeds import InputSpec, Shape, free_batches, input_specs, single_shapes
from onnx_attnprune.evaluate.loading import DataSource, check_preprocess, load
from onnx_attnprune.graph import Graph, index_limits, interface_change, read_model, sha256, write_bytes
from onnx_attnprune.pipeline.request import Tell
from onnx_attnprune.planning import read_plan
from onnx_attnprune.report import to_json, versions
from onnx_attnprune.report.device import BundleReport
from onnx_attnprune.report.folder import check_folder, whole_folder

USUAL_SAMPLES = 3


@dataclass(frozen=True, slots=True)
class BundleRequest:
    """What a user asks of a bundle. calibration: where its samples are from, as for a run (None: made-up ones).

    names: what the manifest calls the models (None: by their paths).
    """

    original: Path
    pruned: Path
    folder: Path
    plan: Path | None = None
    calibration: DataSource | None = None
    preprocess: str = ""
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    samples: int = USUAL_SAMPLES
    names: tuple[str, str] | None = None
    command: str = ""

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise SettingsError(f"--samples {self.samples}: at least one")


def make_bundle(request: BundleRequest, tell: Tell = lambda _: None) -> BundleReport:
    """Write a bundle whole or not at all; an earlier bundle there is replaced, anything else refused.

    Raises a subclass of AttnPruneError.
    """
    check_preprocess(request.preprocess, (request.calibration,))
    check_folder(request.folder, _ours)
    tell("read")
    files = (request.original, request.pruned)
    models = [read_model(path) for path in files]
    changed = interface_change(*models)
    if changed:
        one, other = request.names or files
        raise ModelError(f"{other}: not a pruned {one}: {changed}")
    digests = [sha256(path) for path in files]
    if request.plan is not None:
        read_plan(request.plan).check_model(digests[0])
    specs = input_specs(models[0])
    data = None
    if request.calibration is not None:
        data = load(request.calibration, specs, request.preprocess, labelled=False)
    shapes = _shapes(specs, request.shapes, data)
    feeds = samples_of(specs, shapes, data, index_limits(Graph(models[0])), request.samples)
    inputs = "random values" if data is None else f"of {data.name}"
    batch = 1 if free_batches(specs, request.shapes) else None
    with whole_folder(request.folder) as folder:
        parts = []
        names = request.names or tuple(map(str, files))
        for role, name, model, digest in zip(ROLES, names, models, digests, strict=True):
            tell(f"write {role}")
            parts.append(put_part(Part(role, name, digest, model, batch), shapes, feeds, folder))
        for name, text in papers(parts, len(feeds), inputs):
            write_bytes(folder / name, text.encode())
        if request.plan is not None:
            write_bytes(folder / PLAN, request.plan.read_bytes())
        plan = None if request.plan is None else PLAN
        found = Bundle(request.command, versions(), inputs, len(feeds), tuple(parts), plan, hashes(folder))
        write_bytes(folder / MANIFEST, to_json(found).encode())
    return BundleReport(str(request.folder), found)


def _shapes(specs: tuple[InputSpec, ...], asked: Mapping[str, Shape], data: Dataset | None) -> Mapping[str, Shape]:
    """One shape an input: as asked for, else as the data has it; a single sample where the batch is free."""
    given = dict(asked)
    for spec in specs:
        if data is not None and spec.name not in given and spec.shape:
            first = spec.shape[0] if isinstance(spec.shape[0], int) else 1
            given[spec.name] = data.shape(spec.name, first)
    return single_shapes(specs, given)


def _ours(folder: Path) -> bool:
    """Whether a folder is a bundle, and holds nothing else, which replacing it would lose."""
    try:
        known = {MANIFEST, *manifest_of(folder).files}
    except DataError:
        return False
    return all(p.relative_to(folder).as_posix() in known for p in folder.rglob("*") if not p.is_dir())
