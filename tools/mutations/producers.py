"""Deliberate errors in which layers are taken for the makers of what others read."""

FILE = "onnx_attnprune/recovery/producers.py"
TESTS = ["tests/recovery/test_producers.py", "tests/recovery/test_between.py"]

MUTANTS = [
    ("couples_of", "not job.consumer.removed.any() or ", ""),
    ("couples_of", " and len(_uses(analysis, first)) == 1 == len(_uses(analysis, job))", ""),
    ("couples_of", "_meet(analysis, couple) and ", ""),
    ("couples_of", " and _all_into(flow, made, job)", ""),
    ("way_back", " and job.view.groups == 1", ""),
    ("_all_into", "node.index > second.index or ", "node.index == -1 or "),
    ("_all_into", "not seen & flow.outputs", "True"),
    ("_window", " if job.view.groups == job.view.channels else None", ""),
    ("_window", "Largest(source, result, view)", "Average(source, result, view, False)"),
    ("_window", "None if rounded_up else", ""),
    ("_window", 'bool(node.attr("count_include_pad", 0))', "False"),
    ("_window", 'node.op not in ("MaxPool", "AveragePool")', 'not node.op.endswith("Pool")'),
    ("_singles", " if len(ends) == 1 else None", ""),
    ("_singles", "tuple(dict.fromkeys(fixed))", "()"),
    ("_operands", "node.op not in SINGLE or ", ""),
    ("_operands", "if of == size", ""),
    ("Couple.names", "*(name for link in self.way for name in link.names)", ""),
]
