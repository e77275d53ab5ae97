"""Deliberate errors in names, in what is read off a model, and in editing a copy."""

FILE = "onnx_attnprune/graph/"
TESTS = [
    "tests/graph",
    "tests/evaluate/test_noise.py",
    "tests/test_surgery.py",
    "tests/test_shared_constants.py",
    "tests/recovery",
]

MUTANTS = [
    ("take", "while name in self._taken:", "while False:"),
    ("fresh_names", "FreshNames(self.names)", "FreshNames(())"),
    ("repeated_names", "if name in seen or", "if"),
    ("_flattened", "yield node, True", "pass"),
    ("add_initializer", "model.ir_version < 4", "False"),
    ("store_constant", "len(graph.readers[name]) == len(uses)", "True"),
    ("with_outputs", "if n not in known", "if True"),
    ("selected_by", "if resized.intersection(node.input) or", "if"),
    ("selected_by", "behind.update(node.output)", "pass"),
    ("selections", "known.issuperset(n.input[: SELECTING[n.op_type]])", "True"),
    ("with_even_scales", "if name in names:", "if True:"),
    ("pieces", "if field.number < number else tail", "if True else tail"),
]
