"""The registry, patterns, and operators that have no rule: refused with a reason, never with a traceback."""

from __future__ import annotations

import onnx
import pytest
from onnx import ModelProto

from onnx_attnprune.axes import Space, product
from onnx_attnprune.errors import AxisError
from onnx_attnprune.graph import Graph
from onnx_attnprune.grouping import analyze
from onnx_attnprune.ops import FOLDS, RULES
from onnx_attnprune.ops.folds import fold
from onnx_attnprune.ops.pattern import parse, solve
from onnx_attnprune.ops.registry import Effect, View, rule
from tests.oracle import assert_exact, assert_kept, default_shapes, kept, net, told

OPERATORS = {
    s.name: s
    for s in onnx.defs.get_all_schemas()
    if s.domain in ("", "ai.onnx.ml") and s.max_input and not s.deprecated
}
SCHEMAS = OPERATORS | {"Upsample": onnx.defs.get_schema("Upsample", 9)}
_TYPE = onnx.defs.OpSchema.AttrType
SOMETHING = {_TYPE.INT: 1, _TYPE.INTS: [1, 1], _TYPE.FLOAT: 0.5, _TYPE.STRING: "ab,bc->ac"}
# Control flow needs bodies, and has tests of its own.
BODIED = {name for name, s in SCHEMAS.items() if any(a.type == _TYPE.GRAPH for a in s.attributes.values())}
RULED = sorted(name for domain, name in RULES if not domain and name in SCHEMAS.keys() - BODIED)
WITHOUT = sorted(name for name, s in OPERATORS.items() if (s.domain.removeprefix("ai.onnx"), name) not in RULES)
FREE = {"w0": 4, "w": 5}


def with_node(op: str, operands: int, outputs: int, domain: str = "") -> ModelProto:
    """The usual graph with the operator between h and t, valid or not."""
    model = net("t = Relu (h)", opset=24)
    node = model.graph.node[2]
    node.op_type, node.domain = op, domain
    node.input[:] = ["h"] * operands
    node.output[:] = ["t", *[f"t{k}" for k in range(1, outputs)]]
    for name, attribute in SCHEMAS[op].attributes.items():
        if attribute.required and attribute.type in SOMETHING:
            node.attribute.append(onnx.helper.make_attribute(name, SOMETHING[attribute.type]))
    return model


@pytest.mark.parametrize("op", WITHOUT)
def test_an_operator_without_a_rule_keeps_and_says_so(op: str) -> None:
    schema = OPERATORS[op]
    model = with_node(op, max(schema.min_input, 1), max(schema.min_output, 1), schema.domain)
    analysis = analyze(Graph(model), default_shapes(model))
    assert {g.name: g.size for g in analysis.groups} == {"w0": 4}, told(analysis)
    name = f"{schema.domain}.{op}" if schema.domain else op
    assert_kept(analysis, "w", 0, op, f"no rule for {name}")


@pytest.mark.parametrize("op", RULED)
def test_no_rule_fails_on_a_shape_that_is_not_known(op: str) -> None:
    """Of a tensor of unknown rank: refused with a reason, or followed; what came before stays free or is kept."""
    schema = SCHEMAS[op]
    model = with_node(op, max(schema.min_input, 1), max(schema.min_output, 1))
    model.graph.node[1].op_type, model.graph.node[1].domain = "Mystery", "far.away"
    analysis = analyze(Graph(model), default_shapes(model))
    assert not {"w", "w0"} & {g.name for g in analysis.groups}
    assert kept(analysis)["w0", 0] == ("Mystery", "no rule for far.away.Mystery")


def test_unknown_operator_in_a_network_that_runs() -> None:
    """Inverse of softmax is no operator with a rule here: the others around it are still cut."""
    assert "NonZero" not in [name for _, name in RULES]
    body = "z = NonZero (h) f = Cast <to=1> (z) m = ReduceMax <keepdims=0> (f) t = Mul (q, m)"
    analysis = assert_exact(net(f"q = Conv (p, c) {body}", "float[5,4,1,1] c", opset=13), {"w0": 4, "c": 5})
    assert_kept(analysis, "w", 0, "NonZero", "no rule for NonZero")


def test_operators_contradicting_their_shapes_are_refused() -> None:
    """A rule that finds the sizes wrong is a refusal with both in it, not an error."""
    model = with_node("MatMul", 1, 1)
    model.graph.node[2].input[:] = ["h", "v"]
    analysis = analyze(Graph(model), default_shapes(model))
    assert_kept(analysis, "w", 0, "MatMul", "size")


def test_a_second_rule_is_refused() -> None:
    def nothing(n: View) -> Effect:
        return Effect(())

    with pytest.raises(ValueError, match=r"ai\.onnx\.Conv has a rule already: conv"):
        rule("Conv")(nothing)
    with pytest.raises(ValueError, match="Add is folded already"):
        fold("Add")(FOLDS["Sub"])


def test_every_rule_says_what_it_does() -> None:
    for (domain, name), entry in RULES.items():
        assert entry.summary, f"{domain}.{name}"
        assert entry.family in entry.rule.__module__


# ---------------------------------------------------------------- patterns
def test_pattern_is_parsed() -> None:
    found = parse("n (g i) ..., (g o) i ... -> n (g o) ...")
    assert found.operands == ((("n",), ("g", "i"), ("...",)), (("g", "o"), ("i",), ("...",)))
    assert found.result == (("n",), ("g", "o"), ("...",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a -> b", "stand in no operand"),
        ("a ... ... -> a", "more than one"),
        ("a ()", "is no axis"),
        ("a + b", "is no axis"),
    ],
)
def test_malformed_patterns(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(text)


def test_solving() -> None:
    """A known factor gives the others; `...` is passed over; a missing operand is too."""
    space = Space()
    n, c, o = space.var(7), space.var(6), space.var(10)
    i = space.var(3)
    axis, out = solve(space, "n (g i) ..., (g o) i, (g o) -> n (g o)", [[n, c, space.var(9)], [o, i], None], {"g": 2})
    assert (axis["g"].size, axis["i"], axis["o"].size) == (2, i, 5)
    assert space.find(out[1]) == space.find(o)
    assert space.find(c) == space.find(product((axis["g"], i)))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (((7, 6), (10, 4)), "would have to be"),  # 6 = 2 x 3, not 2 x 4
        (((7, 6), (9, 3)), "no product"),
        (((7,), (10, 3)), "a rank of 1"),
        (((7, 6, 5), (10, 3)), "a rank of 3"),
    ],
)
def test_contradictions_repeat_pattern_and_shapes(sizes: tuple[tuple[int, ...], ...], message: str) -> None:
    space = Space()
    text = "n (g i), (g o) i -> n (g o)"
    with pytest.raises(AxisError, match=message) as caught:
        solve(space, text, [[space.var(s) for s in shape] for shape in sizes], {"g": 2})
    assert text in str(caught.value) or message == "no product"
    assert "x".join(map(str, sizes[0])) in str(caught.value) or message == "no product"


def test_a_result_that_only_a_missing_operand_gives() -> None:
    space = Space()
    with pytest.raises(AxisError, match="an operand that gives"):
        solve(space, "a, b -> a b", [[space.var(2)], None], {})


def test_a_product_that_another_one_solves() -> None:
    """12 = a b and 6 = a c with c = 2: the second has to be solved first."""
    space = Space()
    axis, _ = solve(space, "(a b), (a c)", [[space.var(12)], [space.var(6)]], {"c": 2})
    assert (axis["a"].size, axis["b"].size) == (3, 4)


def test_axes_behind_the_dots() -> None:
    space = Space()
    axes = [space.var(size) for size in (2, 3, 4, 5, 6)]
    axis, out = solve(space, "a ... b c -> b a", [axes], {})
    assert (axis["a"], axis["b"], axis["c"]) == (axes[0], axes[3], axes[4])
    assert out == (axes[3], axes[0])


@pytest.mark.parametrize("body", ["y = DepthToSpace (x)", "y = MaxPool (x)", "y = Cast (x)"])
def test_an_attribute_that_must_be_there_is_missed_by_name(body: str) -> None:
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 17]> g (float[2, 8, 6, 6] x) => (float y) {{ {body} }}'
    )
    analysis = analyze(Graph(model))
    assert not analysis.groups
    assert any("is missing" in reason.why for _, reason in analysis.refused)
