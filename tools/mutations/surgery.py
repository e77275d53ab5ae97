"""Deliberate errors in surgery."""

FILE = "onnx_attnprune/surgery/"
TESTS = [
    "tests/test_surgery.py",
    "tests/test_shared_constants.py",
    "tests/test_grouping.py",
    "tests/ops/test_slicing.py",
    "tests/ops/test_sizes.py",
    "tests/ops/test_control.py",
    "tests/test_computed_weights.py",
]

MUTANTS = [
    ("mask", "if axis == fold.axis", ""),
    ("named_cuts", "elif fold.axis in removed:", "else:"),
    ("named_cuts", "{fold.source_axis: removed[fold.axis]}", "{fold.axis: removed[fold.axis]}"),
    ("cuts_of", "len(cut) == readers and", ""),
    ("cuts_of", "+ (name in outputs)", ""),
    ("cuts_of", "all(u.removed == cut[0].removed for u in cut)", "True"),
    ("sliced", "array = array.compress(stays, axis)", "array = array.compress(stays[::-1], axis)"),
    ("silenced", "= zero", "= 1"),
    ("_edited", "if key not in copies:", "if True:"),
    ("restate", "_restate_signatures(model, analysis, alive)", "pass"),
    ("restate", "places = np.cumsum(survivors) - 1", "places = np.arange(len(survivors))"),
    ("_restate_attribute", "or (shrunk and stated[k] < 0)", ""),
    ("_restated_input", "or (shrunk and now(e) < 0)", ""),
    ("_restated_input", "or _drifts(e, space, alive)", ""),
    ("_put", "if proto.attribute[k].name in drop:", "if False:"),
    ("_restate_signatures", "dim.dim_value = size", "pass"),
    ("_restate_signature", "if dim.dim_value == axis.size:", "if False:"),
    ("_means", "share *= ", "share = "),
    ("_means", "analysis.space.size(axis, alive) / axis.size", "axis.size / analysis.space.size(axis, alive)"),
    ("_means", "if share != 1.0:", "if True:"),
    ("rescale", "mean.dtype", "1"),
    ("release", "if product.op_type == node.op:", "if False:"),
    ("release", "drop_initializer(model, product.input[1])", "pass"),
    ("_place", "bodies_of(model.graph)", "[model.graph]"),
]
