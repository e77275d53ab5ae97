"""Deliberate errors in the made-up pictures."""

FILE = "onnx_attnprune/recovery/pictures.py"
TESTS = ["tests/recovery/test_pictures.py", "tests/recovery/test_least_squares.py"]

MUTANTS = [
    ("picture", "number + number // len(KINDS)", "number"),
    ("picture", "share * standard(grey) + ", ""),
    ("noise", "/ radius**fall", ""),
    ("noise", "along * stretch, across / stretch", "along, across"),
    ("thing", "np.where(middle, front, ground)", "ground"),
    ("_colour", "(*shape[:-2], 1, 1)", "(shape[0], 1, 1)"),
    ("_leaf", "y - top, x - left", "y, x + 9"),
]
