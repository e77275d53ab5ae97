"""Deliberate errors in the rules of attention in one node."""

MUTANTS = [
    ("attention", '{"q_num_heads": a.all_heads, "kv_num_heads": a.heads}', '{"q_num_heads": a.all_heads}'),
    ("attention", "fixed=default_scale(n, a.size)", ""),
    ("attention", "add_to_scores(n, 3, a)", "pass"),
    ("_attention_heads", "b q (h r d)", "b q (r h d)"),
    ("rotary", "caches=(1, 2)", "caches=(1, 1)"),
    ("rotary_microsoft", "caches=(2, 3)", "caches=(2, 2)"),
    ("_rotary", "(half, two) if n.attr", "(two, half) if n.attr"),
    ("fused_attention", '"num_heads": heads,', ""),
    ("multi_head_attention", '{"num_heads": heads}', "{}"),
    ("multi_head_attention", "product((heads, value))", "product((value, heads))"),
    ("group_query_attention", 'n.keep(size, "the head size', 'n.keep((), "the head size'),
    ("group_query_attention", '"kv_num_heads": heads', '"kv_num_heads": a.all_heads'),
]
