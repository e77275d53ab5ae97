"""Deliberate errors in the axis algebra."""

FILE = "onnx_attnprune/axes/"
TESTS = ["tests/test_axes.py", "tests/test_golden.py", "tests/ops/test_slicing.py"]

MUTANTS = [
    (
        "split",
        "return concat((*axis.parts[:k], left)), concat((right, *axis.parts[k + 1 :]))",
        "return concat((*axis.parts[:k], right)), concat((left, *axis.parts[k + 1 :]))",
    ),
    ("_split_product", "divmod(at, inner.size)", "divmod(at, outer.size)"),
    ("_bind", "self._kept.setdefault(leaf.id, {}).update(reasons)", "pass"),
    ("_align_product", "yield p, product((q, rest))", "yield p, product((rest, q))"),
    ("_align_concat", "yield from reversed(pairs)", "yield from pairs[:1]"),
    ("mask_of", "np.concatenate(masks)", "np.concatenate(masks[::-1])"),
    ("is_kept", "self._free.isdisjoint(ids_of(self.find(axis)))", "False"),
    ("pick", "[i - start for i in indices[a:b]]", "[i for i in indices[a:b]]"),
    ("keep", "self._kept.setdefault(leaf.id, {}).setdefault(why)", "pass"),
]
