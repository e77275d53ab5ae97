"""What is written is what protobuf itself would write."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from onnx_attnprune.errors import OutputError
from onnx_attnprune.graph import pieces, write_model

MODELS = sorted((Path(__file__).parents[2] / "models").glob("*.onnx"))


@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_pieces_are_the_bytes_of_protobuf(path: Path) -> None:
    model = onnx.load(path)
    model.doc_string = "about it"
    model.metadata_props.add(key="made by", value="hand")
    model.training_info.add()  # a field behind the graph
    size, parts = pieces(model)
    data = b"".join(parts)
    assert len(data) == size
    assert data == model.SerializeToString()


def test_a_file_that_can_t_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "folder" / "out.onnx"
    with pytest.raises(OutputError, match=r"out\.onnx"):
        write_model(onnx.load(MODELS[0]), target)
    assert not list(tmp_path.iterdir())
