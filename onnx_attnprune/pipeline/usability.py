"""What a phone would take of model files."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from onnx_attnprune.deploy.usability import changes, usability
from onnx_attnprune.errors import ModelError
from onnx_attnprune.evaluate.feeds import Shape, input_specs, single_shapes
from onnx_attnprune.graph import read_model
from onnx_attnprune.pipeline.request import Tell
from onnx_attnprune.report import versions
from onnx_attnprune.report.usability import UsabilityReport


def check_usability(
    models: Sequence[Path], shapes: Mapping[str, Shape], command: str = "", tell: Tell = lambda _: None
) -> UsabilityReport:
    """What NNAPI would take of one model file, or of the original and the pruned one, and what changed.

    shapes: sizes for inputs with free dimensions, by input name; a free batch is one sample. Raises a subclass of
    AttnPruneError.
    """
    found = []
    with tempfile.TemporaryDirectory(prefix="onnx-attnprune-") as folder:
        for path in models:
            tell(f"look at {path.name}")
            model = read_model(path)
            sizes = single_shapes(input_specs(model), shapes)
            try:
                found.append(usability(model, sizes, str(path), Path(folder)))
            except ModelError as error:
                raise ModelError(f"{path}: {error}") from None
    changed = changes(*found) if len(found) == 2 else ()
    return UsabilityReport(command, versions(), tuple(found), changed)
