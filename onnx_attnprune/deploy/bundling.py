"""Making a bundle: fixed shapes, ONNX Runtime's own format, samples with what the models make of them, a script."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.deploy.bundle import MODEL, ORT, Bundled
from onnx_attnprune.errors import DataError, ModelError
from onnx_attnprune.evaluate.data import Dataset, batches
from onnx_attnprune.evaluate.equivalence import TOLERANCE, compare, within
from onnx_attnprune.evaluate.feeds import InputSpec, Shape, is_float, random_feeds
from onnx_attnprune.graph import ModelProto, named_tensor, write_bytes, write_model
from onnx_attnprune.runtime import Session
from onnx_attnprune.runtime.mobile import with_fixed_shapes, write_ort_format

Feeds = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Part:
    """A model that goes into a bundle. source, sha256: its file; batch: None where the model fixes it."""

    role: str
    source: str
    sha256: str
    model: ModelProto
    batch: int | None


def samples_of(
    specs: Sequence[InputSpec], shapes: Mapping[str, Shape], data: Dataset | None, limits: Mapping[str, int], count: int
) -> list[Feeds]:
    """`count` inputs of the shapes, fewer where the data ends before; made-up ones without data.

    Raises DataError for data of inputs that count their samples differently.
    """
    if data is None:
        return [random_feeds(specs, shapes, seed, limits) for seed in range(count)]
    if data.whole:
        return [data.run(k) for k in range(min(count, data.size))]
    firsts = {shapes[spec.name][0] for spec in specs}
    if len(firsts) > 1:
        raise DataError(f"{data.source}: the inputs have different first sizes: {sorted(firsts)}; use --shape")
    first = firsts.pop()
    return [batch.feeds for batch in itertools.islice(batches(data, first, first), count)]


def put_part(part: Part, shapes: Mapping[str, Shape], samples: Sequence[Feeds], folder: Path) -> Bundled:
    """Write one model with its samples and what it makes of them on this machine's CPU; what the manifest says of it.

    Raises ModelError for a model that does not take the shapes, or does not run.
    """
    home = folder / part.role
    home.mkdir()
    path = home / MODEL
    write_model(with_fixed_shapes(part.model, shapes), path)
    session = Session(path)
    outputs = [session.run(feeds) for feeds in samples]
    for k, (feeds, found) in enumerate(zip(samples, outputs, strict=True)):
        _put_set(home / f"test_data_set_{k}", feeds, found, session)
    ort, why = _put_ort(path, folder / ORT / f"{part.role}.ort", samples[0], outputs[0])
    floats = [name for name, array in outputs[0].items() if is_float(array.dtype)]
    return Bundled(
        role=part.role,
        source=part.source,
        sha256=part.sha256,
        batch=part.batch,
        shapes=dict(shapes),
        largest=min((max(_largest(found[name]) for found in outputs) for name in floats), default=0.0),
        tolerance=max((TOLERANCE[outputs[0][name].dtype.name] for name in floats), default=0.0),
        ort=f"{ORT}/{part.role}.ort" if ort else None,
        without_ort=why,
    )


def _put_set(home: Path, feeds: Feeds, outputs: Feeds, session: Session) -> None:
    """One sample, as ONNX's own test data lies: input_0.pb, ..., output_0.pb, ... in the model's order."""
    home.mkdir()
    for kind, names, arrays in (("input", session.input_names, feeds), ("output", session.output_names, outputs)):
        for k, name in enumerate(names):
            write_bytes(home / f"{kind}_{k}.pb", named_tensor(name, arrays[name]))


def _put_ort(model: Path, target: Path, feeds: Feeds, expected: Feeds) -> tuple[bool, str]:
    """The same model in ONNX Runtime's own format, if there can be one that computes the same; else why not."""
    target.parent.mkdir(exist_ok=True)
    try:
        write_ort_format(model, target)
        found = Session(target).run(feeds)
    except ModelError as error:
        target.unlink(missing_ok=True)
        return False, str(error)
    if not within(compare(list(expected), expected, found)):
        target.unlink()
        return False, "in that format it gives other outputs"
    return True, ""


def _largest(array: NDArray[Any]) -> float:
    finite = array.astype(np.float64)
    return float(np.max(np.abs(finite[np.isfinite(finite)]), initial=0.0))
