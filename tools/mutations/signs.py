"""Deliberate errors in what is known of signs."""

MUTANTS = [
    ("is_nonnegative", "stored is None or (stored.array() < 0).any()", "stored is None"),
    ("is_nonnegative", "if sources is None:", "if not sources:"),
    ("is_nonnegative", "todo += [source for source in sources if source not in seen]", "pass"),
    ("_sources", "if node.domain:", "if False:"),
    ("_sources", "return node.inputs\n", "return node.inputs[:1]\n"),
    ("_sources", "node.inputs[0] == node.inputs[1]", "True"),
    ("_cast", 'node.attr("to") in FLOATS', "True"),
    ("_clip", "bound >= 0", "True"),
    ("_pad", "k in (0, 2)", "k == 0"),
    ("_power", "not (exponent.array() % 2).any()", "True"),
    ("_resize", 'node.attr("mode", "nearest") != "cubic" and', ""),
    ("_where", "node.inputs[1:]", "node.inputs[1:2]"),
]
