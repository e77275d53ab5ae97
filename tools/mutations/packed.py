"""Deliberate errors in the rules of attention in rarer forms."""

MUTANTS = [
    ("remove_padding", "n.out((tokens, channels), silent=n.tensor(0).silent)", "n.out((channels, tokens))"),
    ("restore_padding", "(*n.axes(1), channels)", "(*n.axes(1), tokens)"),
    ("packed_attention", "n.tie(n.axes(2)[0], columns)", "pass"),
    ("packed_attention", '"num_heads": heads, ', ""),
    ("packed_multi_head_attention", "product((heads, value))))", "product((value, heads))))"),
    ("packed_multi_head_attention", "loud=not (silent[0] or silent[1])", "loud=False"),
    ("_packed", "add_to_scores(n, first + 2, a)", "pass"),
    ("decoder_attention", "(0, 1, 2, 10, 3, 4, 5, 6, 7, 9)", "(0, 1, 2, 11, 3, 4, 5, 6, 7, 9)"),
    ("decoder_attention", 'n.keep((tensor.axes or ())[-1:], "the head size', 'n.keep((), "the head size'),
    ("relative_position_bias", "(ONE, heads, *lengths)", "(ONE, n.positions(heads.size), *lengths)"),
    ("gated_position_bias", '{"num_heads": v["h"]}', "{}"),
    ("gated_position_bias", 'n.keep(v["u"], "gates, of which each half is summed")', "pass"),
]
