"""Deliberate errors in the rules of quantised operators."""

MUTANTS = [
    ("quantize", "n.rest(1, 1)", "pass"),
    ("quantize", "zero = zero_of(n, 2)", "zero = NOUGHT"),
    ("dequantize", "silent = stored_at_rest(n, 0, zero)", "silent = True"),
    ("dequantize", "silent = stored_at_rest(n, 0, zero)", "silent = False"),
    ("dynamic_quantize", "range_is_free(n, 0)", "True"),
    ("range_is_free", 'n.keep(n.axes(place), "quantised by the range of all channels")', "pass"),
    ("matmul_integer", "zeros=(2, 3)", "zeros=(2, 2)"),
    ("integer_product", "tie_vector(n, b[-1], zeros[1], zeros[1])", "pass"),
    ("conv_integer", "stored_at_rest(n, 1, zero[1])", "True"),
    ("qlinear_conv", "tie_vector(n, n.axes(3)[0], 4, 5)", "pass"),
    ("qlinear_matmul", "tie_vector(n, b[-1], 4, 5)", "pass"),
    ("_tie_blocks", "product((blocks, within))", "product((within, blocks))"),
]
