"""ONNX Runtime's own tools for phones: fixed shapes, its analysis of what NNAPI takes, and its .ort format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from onnx_attnprune.errors import ModelError
from onnx_attnprune.runtime.failing import told_as

if TYPE_CHECKING:
    import onnx

Suitability = Literal["no", "maybe", "yes"]
_SILENT = 4
_INTS = 7  # AttributeProto.INTS, written out so that this file needs no onnx


@dataclass(frozen=True, slots=True)
class Partitions:
    """What ONNX Runtime's analysis says of a model on a phone's provider.

    nodes, supported: of the graph. sizes: how many nodes each part has that the provider would take. unsupported:
    operators (domain:name) that it does not take. by_shape, by_rank: nodes that it does not take because a shape is not
    fixed, or has too many dimensions. caveats: what it asks besides, by operator. suitability: ONNX Runtime's verdict.
    """

    nodes: int
    supported: int
    sizes: tuple[int, ...]
    unsupported: tuple[str, ...]
    by_shape: int
    by_rank: int
    caveats: Mapping[str, str]
    suitability: Suitability


def with_fixed_shapes(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> onnx.ModelProto:
    """A copy whose inputs have the given shapes for good, and its outputs what follows from them.

    Raises ModelError for shapes that the model does not take.
    """
    from onnxruntime.tools.onnx_model_utils import fix_output_shapes, make_input_shape_fixed

    fixed = type(model)()
    fixed.CopyFrom(model)
    # What was inferred before may speak of the free sizes.
    del fixed.graph.value_info[:]
    with told_as(ModelError, "the shapes can't be fixed"):
        for name, shape in shapes.items():
            make_input_shape_fixed(fixed.graph, name, list(shape))
        fix_output_shapes(fixed)
    return fixed


def simplified(model: Path, folder: Path) -> onnx.ModelProto:
    """The model with constants folded and shapes inferred, as it is when a provider looks at it on a phone.

    `folder` is for files in between. Raises ModelError where ONNX Runtime can't load it.
    """
    from onnxruntime.tools.onnx_model_utils import ModelProtoWithShapeInfo, optimize_model

    target = folder / f"simplified-{model.stem}.onnx"
    with told_as(ModelError, "ONNX Runtime can't load the model"):
        optimize_model(model, target, log_level=_SILENT, use_external_initializers=True)
    with told_as(ModelError, "the shapes inside of the model can't be inferred"):
        proto: onnx.ModelProto = ModelProtoWithShapeInfo(target).model_with_shape_info
        return proto


def nnapi_partitions(model: onnx.ModelProto) -> Partitions:
    """ONNX Runtime's analysis of a model with shapes inferred, which it is free to change.

    Raises ModelError where it makes nothing of it.
    """
    from onnxruntime.tools.mobile_helpers.usability_checker import check_nnapi_partitions

    if not model.graph.node:
        raise ModelError("the model has no nodes to look at")
    _mend(model)
    with told_as(ModelError, "ONNX Runtime's usability analysis fails"):
        found = check_nnapi_partitions(model, True)
    caveats = (line.split(":", 2)[1:] for line in found.supported_ops_checker.get_caveats())  # domain, operator, text
    return Partitions(
        nodes=found.num_nodes,
        supported=found.num_supported_nodes,
        sizes=tuple(len(group) for group in found.supported_groups),
        unsupported=tuple(sorted(found.unsupported_ops)),
        by_shape=found.nodes_unsupported_due_to_dynamic_input,
        by_rank=found.num_unsupported_nodes_due_to_rank,
        caveats=dict(caveats),
        suitability=_SUITABILITY[found.suitability().name],
    )


def _mend(model: onnx.ModelProto) -> None:
    """Spell out what the analysis (of 1.32) stumbles over, though it changes nothing.

    It takes the empty name of an operand that is left out for a tensor of unknown shape, and looks for the permutation
    of a Transpose that has the default one.
    """
    nothing = model.graph.value_info.add(name="")
    nothing.type.tensor_type.elem_type = 1
    nothing.type.tensor_type.shape.dim.add(dim_value=1)
    todo = [model.graph]
    while todo:
        graph = todo.pop()
        for node in graph.node:
            if node.op_type == "Transpose" and not node.attribute:
                node.attribute.add(name="perm", type=_INTS)
            todo.extend(a.g for a in node.attribute if a.HasField("g"))


_SUITABILITY: Mapping[str, Suitability] = {"NO": "no", "MAYBE": "maybe", "YES": "yes"}


def write_ort_format(model: Path, target: Path) -> None:
    """Write a model in ONNX Runtime's own format (.ort), with constants folded and nothing that ties it to a processor.

    Raises ModelError where ONNX Runtime can't load it.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = _SILENT
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    options.add_session_config_entry("session.save_model_format", "ORT")
    with told_as(ModelError, "ONNX Runtime can't turn the model into its own format"):
        ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"], enable_fallback=False)
