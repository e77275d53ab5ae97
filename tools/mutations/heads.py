"""Deliberate errors in what all forms of attention share."""

TESTS = ["tests/ops/test_attention.py"]

MUTANTS = [
    ("settle", "if a.loud and", "if False and"),
    ("quiet", "and n.space.is_kept(a.repeat)", ""),
    ("fused_heads", "concat((inner, inner, outer))", "concat((inner, outer, inner))"),
    ("default_scale", "1 / math.sqrt(size.size)", "1.0"),
    ("add_to_scores", "n.tie(axis, other)", "pass"),
]
