"""Deliberate errors in the rules of ONNX Runtime's own quantised operators."""

TESTS = ["tests/ops/test_quantized.py", "tests/ops/test_qlinear.py"]

MUTANTS = [
    ("qlinear_binary", "n.broadcast(0, 3)", "n.axes(0)"),
    ("qlinear_unary", 'n.node.op != "QLinearSigmoid" and', ""),
    ("qlinear_softmax", 'n.keep(x[axis:] if int(n.attr("opset", 13)) < 13 else x[axis], "normalised over")', "pass"),
    ("qlinear_pool", "_at_zero(n, 0)", "False"),
    ("qlinear_where", "all(_at_zero(n, place)", "all(True"),
    ("matmul_integer16", "matmul(n)", "matmul(Recast(n, (1, 0)))"),
    ("qattention", "n.tie(sizes[0], sizes[2])", "pass"),
    ("qattention", "tie_vector(n, n.axes(1)[1], 4, 7)", "pass"),
    ("qattention", "quiet[1] = quiet[1] or", "quiet[1] ="),
    ("qembed_layer_norm", "dtype=FLOAT", "dtype=first.dtype"),
    ("qlinear_concat", "concat(p[at] for p in parts)", "concat(p[at] for p in reversed(parts))"),
    ("qgemm", 'tie_vector(n, n.axes(3)[0 if n.attr("transB", 0) else 1], 4, 5)', "pass"),
    ("matmul_integer_to_float", "scale=3, bias=6", "scale=3, bias=99"),
    ("dynamic_quantize_matmul", "range_is_free(n, 0)", "True"),
    ("dynamic_quantize_lstm", "range_is_free(n, 0)", "pass"),
    ("dynamic_quantize_lstm", "len(n.axes(place)) == 2 and", ""),
]
