"""Deliberate errors in the analysis."""

FILE = "onnx_attnprune/grouping/"
TESTS = [
    "tests/test_grouping.py",
    "tests/test_inputs.py",
    "tests/test_shared_weights.py",
    "tests/test_streams.py",
    "tests/test_surgery.py",
    "tests/ops/test_control.py",
    "tests/ops/test_shape.py",
    "tests/ops/test_registry.py",
]

MUTANTS = [
    ("inputs_of", "space.var(size, reason, dynamic=dim is None)", "space.var(size, None, dynamic=dim is None)"),
    ("inputs_of", "stated = [None] * len(sizes)", "stated = sizes"),
    ("tensor", "if constant.dtype in PACKED:", "if False:"),
    ("tensor", "key = (node.index, place)", "key = (name, 0)"),
    ("analysis", "self.space.keep(axis, Reason(GRAPH_OUTPUT, signature.name))", "pass"),
    ("_refuse", "(*node.inputs, *self.graph.captured(node))", "node.inputs"),
    ("_refuse", "self.space.var(d, reason) if", "self.space.var(d) if"),
    ("_apply", "except AxisError as error:", "except ZeroDivisionError as error:"),
    ("_publish", "all(t.slots for t in read)", "any(t.slots for t in read)"),
    ("groups", 'any(m.role != "constant" for m in f)', "True"),
    ("groups", "while name in names:", "while False:"),
    ("groups", 'self._spared.get(var.id, "")', '""'),
    ("alive_of", "mask[list(gone)] = False", "mask[list(gone)[:1]] = False"),
    ("analysis", "tie_uses(self.space, self.slots, self.roles, self.graph.constants)", "pass"),
    ("tie_uses", "and _differs(constants[name])", ""),
    ("tie_uses", "any(role in WEIGHING for _, role in roles.get(slot.id, ()))", "True"),
    ("_tie_parts", "for pair in _pieces(space, one, other):", "for pair in ():"),
    ("_tie_parts", "_is_free(space, one) and _is_free(space, other) and", ""),
    ("_pieces", "pair[k], rest = space.split(part, width)", "rest, pair[k] = space.split(part, width)"),
    ("streams", "own.get(var) or", ""),
    ("streams", "(*node.inputs, *bodies)", "node.inputs"),
    ("_own", "if name in self._tensors for s in self._tensors[name].slots", "if False for s in ()"),
    ("_read", "self._makers.get(name) or {", "self._makers.get(name, {}) or {} and {"),
    ("_met", "if one[v] - other[v] and other[v] - one[v]", "if one[v] != other[v]"),
    ("_met", "[*terms, own]", "terms"),
    ("_met", "node.inputs[k] for k in ADDED[node.op] if k < len(node.inputs)", "n for n in ()"),
]
