"""Deliberate errors in what samples can vouch for."""

FILE = "onnx_attnprune/evaluate/chance.py"
TESTS = ["tests/evaluate/test_chance.py"]

MUTANTS = [
    ("known_to", "+ 1 -", "-"),
    ("known_to", "** 2 / count", "** 2"),
    ("known_to", "math.sqrt(square / count)", "math.sqrt(square)"),
    ("largest", "+ known_to", "- known_to"),
]
