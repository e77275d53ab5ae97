"""Deliberate errors in the rules of ONNX Runtime's fused operators."""

MUTANTS = [
    ("fused_matmul", "order = [*order[:-2], order[-1], order[-2]]", "pass"),
    ("fused_matmul", "order = [*order[1:-1], order[0], order[-1]]", "pass"),
    ("fused_conv", "silent = silent and n.tensor(3).silent", "pass"),
    ("fused_conv", "n.tie(one, other)", "pass"),
    ("fused_conv", "out.silent and _passes_zero(n)", "out.silent"),
    ("fused_gemm", "out.silent and _passes_zero(n)", "out.silent"),
    ("_passes_zero", "params[0] <= 0 <= params[1]", "True"),
    ("matmul_n_bits", ', "K": x[-1]', ""),
    ("matmul_n_bits", '"N": columns', ""),
    ("matmul_n_bits", "product((blocks, within))", "product((within, blocks))"),
    ("matmul_n_bits", 'n.keep(blocks, "several zero points share a byte")', "pass"),
    ("matmul_n_bits", 'n.keep([x[-1], blocks], "a last block that is not full")', "pass"),
    ("_tie_flat", "product((columns, row))", "product((row, columns))"),
    ("gelu", "n.like()", "n.out(n.axes(0))"),
    ("bias_gelu", "n.tie(n.axes(1)[0], x[-1])", "pass"),
    ("bias_gelu", "silent and n.tensor(1).silent", "n.tensor(1).silent"),
    ("skip_layer_norm", 'n.keep(out[-1], "normalised over")', "pass"),
    ("embed_layer_norm", 'n.keep(width, "normalised over")', "pass"),
]
