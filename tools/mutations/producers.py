"""Deliberate errors in which layers are taken for the makers of what others read."""

FILE = "onnx_attnprune/recovery/producers.py"
TESTS = ["tests/recovery/test_producers.py"]

MUTANTS = [
    ("couples_of", "not job.consumer.removed.any() or ", ""),
    ("couples_of", " and len(_uses(analysis, first)) == 1 == len(_uses(analysis, job))", ""),
    ("couples_of", "if _meet(analysis, couple):", "if True:"),
    ("source_of", "len(ends) == 1 and mine", "len(ends) == 1"),
    ("source_of", "len(ends) == 1 and mine", "mine"),
    ("source_of", "inside, frontier, ends = {reader.index}", "inside, frontier, ends = set(range(99))"),
    ("_operands", "node.op not in SINGLE or ", ""),
]
