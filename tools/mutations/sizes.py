"""Deliberate errors in the sizes that are tried where a model does not run at the usual ones."""

FILE = "onnx_attnprune/evaluate/feeds.py"
TESTS = ["tests/test_sizes.py", "tests/evaluate/test_feeds.py"]

MUTANTS = [
    ("other_shapes", "shapes not in seen", "True"),
    ("other_shapes", "free, 1)", "free, 2)"),
    ("other_shapes", "asked, usual)", "{}, usual)"),
    ("_usual_sizes", "min(usual.length, MOST_IDS)", "usual.length"),
    ("_usual_sizes", "rank == 2", "rank == 3"),
    ("_random", "SAMPLE_RATE, spec.dtype)", "8, spec.dtype)"),
]
