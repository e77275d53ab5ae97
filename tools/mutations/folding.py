"""Deliberate errors in what is stored as it comes out where a file computes its weights."""

FILE = "onnx_attnprune/graph/folding.py"
TESTS = ["tests/graph/test_folding.py", "tests/test_computed_weights.py"]

MUTANTS = [
    ("_folds", "and reads[name] == 1", ""),
    ("_folds", "any(n.op_type in OVER_ROWS for n in behind)", "True"),
    ("_folds", "own[one] == reads[one] and", ""),
    ("_computed", "and known.issuperset(filter(None, node.input))", ""),
    ("_sources", 'a.name == "value"', "False"),
    ("_fold", "Fold(source, given, made)", "Fold(source, made, given)"),
    ("_fold", "and _silences(run, array, whole, given, made)", ""),
    ("_drop", "model.graph.node.remove(node)", "pass"),
]
