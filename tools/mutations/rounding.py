"""Deliberate errors in which removals change how sums round, and in what was selected."""

FILE = "onnx_attnprune/evaluate/"
TESTS = ["tests/evaluate/test_rounding.py", "tests/evaluate/test_noise.py"]

MUTANTS = [
    ("rounding_groups", "if not models.same_bits(node):", "if models.same_bits(node):"),
    ("rounding_groups", "node.summed or node.touched", "node.touched"),
    (
        "_Models.same_bits",
        "            return False\n        return True",
        "            return True\n        return True",
    ),
    ("_Models._silenced", "if tensor.silent:", "if False:"),
    ("_mixing_of", "any(t.dtype not in FLOATS for t in data.values())", "False"),
    ("_taken", 'op == "NonMaxSuppression"', "False"),
    ("_taken", "(*place, int(index))", "(int(index),)"),
]
