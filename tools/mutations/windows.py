"""Deliberate errors in bringing back what is said of windows."""

FILE = "onnx_attnprune/recovery/windows.py"
TESTS = ["tests/recovery/test_windows.py", "tests/recovery/test_between.py"]

MUTANTS = [
    ("spread_back", "by_tap[:, tap].T", "by_tap[:, 0].T"),
    ("brought_back", "whole[at] += said", "whole[at] = said"),
    ("under_taps", ", beyond, np", ", 0, np"),
    ("_sizes", "max(a + n, (count - 1) * s + (k - 1) * d + 1)", "a + n"),
    ("_sizes", "max(a + n, (count - 1) * s + (k - 1) * d + 1)", "(count - 1) * s + (k - 1) * d + 1"),
    ("_inner", "slice(a, a + n)", "slice(0, n)"),
    ("_places", "p * d, p * d + (n - 1) * s + 1, s", "p, p + (n - 1) * s + 1, s"),
    ("_places", "p * d, p * d + (n - 1) * s + 1, s", "p * d, p * d + n, 1"),
]
