"""What files of real exporters and converters have taught: each a small model with the same trait."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

from onnx_attnprune import surgery
from onnx_attnprune.errors import ModelError
from onnx_attnprune.evaluate.feeds import input_specs
from onnx_attnprune.graph import Graph, in_order, read_model
from onnx_attnprune.grouping import analyze
from tests.oracle import (
    FREE_BATCH_NET,
    Runner,
    analyzed,
    assert_kept,
    check,
    distance,
    net,
    parse,
    pruned_as_masked,
    random_masks,
)
