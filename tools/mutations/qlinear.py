"""Deliberate errors in the rules of ONNX Runtime's own quantised operators."""

TESTS = ("tests/ops/test_quantized.py",)
MUTANTS = [
    ("qlinear_binary", "all(each)", "any(each)"),
    ("qlinear_binary", "else any(each)", "else all(each)"),
    ("qlinear_unary", 'n.node.op != "QLinearSigmoid" and', ""),
    ("qlinear_softmax", 'n.keep(x[axis:] if int(n.attr("opset", 13)) < 13 else x[axis], ', "n.keep((), "),
    ("qlinear_pool", "_at_zero(n, 0)", "False"),
    ("qlinear_concat", "concat(p[at] for p in parts)", "concat(p[at] for p in reversed(parts))"),
    ("qlinear_concat", "all(_at_zero(n, place) for place in places)", "False"),
    ("qgemm", 'tie_vector(n, n.axes(3)[0 if n.attr("transB", 0) else 1], 4, 5)', "pass"),
    ("qgemm", "(0, 3, 6)", "(0, 3)"),
    ("matmul_integer_to_float", "scale=3", "scale=2"),
    ("dynamic_quantize_matmul", "range_is_free(n, 0)", "True"),
    ("_to_float", "tie_vector(n, out.axes[-1], scale)", "pass"),
    ("_to_float", "n.tie(n.axes(bias)[0], out.axes[-1])", "pass"),
    ("dynamic_quantize_lstm", "{1: (0, 2, 1), 2: (0, 2, 1)}", "{}"),
    ("dynamic_quantize_lstm", "zero_of(n, place + 1) == NOUGHT", "True"),
    ("dynamic_quantize_lstm", "if not effect.outputs[0].silent:", "if False:"),
    ("dynamic_quantize_lstm", "n.tie(axis, other)", "pass"),
]
