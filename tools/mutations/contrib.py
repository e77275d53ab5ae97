"""Deliberate errors in the rules of ONNX Runtime's own operators."""

MUTANTS = [
    ("fused_matmul", "order[-1], order[-2]]", "order[-2], order[-1]]"),
    ("fused_conv", "n.tie(one, other)", "pass"),
    ("fused_conv", "out.silent and _passes_zero(n)", "out.silent"),
    ("fused_gemm", "out.silent and _passes_zero(n)", "True"),
    ("matmul_n_bits", '{"N": columns, "K": x[-1]}', '{"N": columns}'),
    ("matmul_n_bits", 'n.keep([x[-1], blocks], "a last block that is not full")', "pass"),
    ("gelu", "n.like()", "n.out(n.axes(0))"),
    ("bias_gelu", "n.tie(n.axes(1)[0], x[-1])", "pass"),
    ("skip_layer_norm", "n.tie(n.axes(place)[0], out[-1])", "n.tie(n.axes(place)[0], out[0])"),
    ("skip_layer_norm", 'n.keep(out[-1], "normalised over")', "pass"),
    ("embed_layer_norm", 'n.keep(width, "normalised over")', "pass"),
    ("gemm_fast_gelu", "n.tie(n.axes(2)[0], out.axes[-1])", "pass"),
    ("gemm_fast_gelu", "silent and n.tensor(2).silent and n.spans(2, out.axes)", "silent"),
    ("matmul_bnb4", '{"N": v["n"], "K": x[-1]}', '{"N": v["n"]}'),
    ("matmul_bnb4", "or length % width", ""),
    ("matmul_bnb4", 'n.keep(v["bytes"], "several channels share a byte")', "pass"),
    ("bias_split_gelu", 'v["c"]), silent', 'n.positions(v["c"].size)), silent'),
    ("bias_add", "for k in (0, 1, 2)", "for k in (0, 1)"),
    ("bias_softmax", 'n.keep(x[n.axis_attr("axis", len(x), 1) :], "normalised over")', "pass"),
]
