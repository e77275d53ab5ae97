"""One pass of the rules over a graph."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from onnx_attnprune.axes import Axis, Reason, Space
from onnx_attnprune.errors import AxisError, ModelError
from onnx_attnprune.graph import Constant, Graph, Node, Signature, TensorProto, infer_outputs, structural_fault
from onnx_attnprune.grouping.alike import tie_alike
from onnx_attnprune.grouping.computed import heed_folds
from onnx_attnprune.grouping.findings import Findings
from onnx_attnprune.grouping.inputs import UNSEEN, inputs_of
from onnx_attnprune.grouping.model import Analysis, Slot
from onnx_attnprune.grouping.numbers import frozen, settle
from onnx_attnprune.grouping.shared import tie_uses
from onnx_attnprune.ops import ENTRIES, FLOATS, FOLDS, POSITION, RULES, Effect, Tensor, View
from onnx_attnprune.ops.values import LARGEST, Values, as_values, terms

INTEGERS = {6, 7, 9, 12, 13}  # those that sizes come in; 8 and 16 bits hold quantised weights
MOVING = {"Flatten", "Identity", "MaxPool", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"}
PACKED = {21, 22, 23, 25, 26}  # types of 4 and 2 bits: channels share a byte
ZEROLESS = 24  # float8e8m0, a power of two
GRAPH_OUTPUT, NO_RULE = "graph output", "no rule for"


def analyze(graph: Graph, shapes: Mapping[str, Sequence[int]] | None = None, alike: Collection[str] = ()) -> Analysis:
    """Channel groups of a graph, and what is kept and why.

    `shapes`: a size for every free dimension of the graph inputs, by input name (stand-ins where left out; sizes that
    the file leaves open never become channels), and so the rank where the file leaves that open. `alike`: operators
    whose results, where they have one shape, keep one. Raises ModelError for a graph that is not in order.
    """
    try:
        return _Run(graph, shapes or {}, alike).analysis()
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        # Rules take what valid graphs have for granted: where this one is none, onnx says so better than they can.
        if fault := structural_fault(graph.model):
            raise ModelError(f"not a valid model: {fault}") from None
        raise


class _Run:
    """One pass over a graph: the operands of the rules, and what they said."""

    def __init__(self, graph: Graph, shapes: Mapping[str, Sequence[int]], alike: Collection[str]) -> None:
        self.graph, self.space, self.alike = graph, Space(), alike
        self.known: dict[str, Tensor] = dict(inputs_of(graph.inputs, self.space, shapes))
        self.values: dict[str, Values | None] = {}
        self.slots: list[Slot] = []
        self.slot_of: dict[tuple[int, int], Tensor] = {}
        self.roles: dict[int, list[tuple[Axis, str]]] = {}
        self.rests: dict[str, int] = {}
        self.effects: list[tuple[Node, Effect]] = []
        self.frozen: list[tuple[Node, int]] = []
        self.refused: list[tuple[Node, Reason]] = []

    # ---------------------------------------------------------------- operands of a rule
    def tensor(self, node: Node, place: int) -> Tensor | None:
        """An operand; a constant gets a slot of its own at each use."""
        name = node.inputs[place]
        found = self.known.get(name)
        if found is not None:
            return found
        constant = self.graph.constants.get(name)
        if constant is None:
            raise ModelError(f"node {node.name!r} reads {name!r}, which nothing before it makes")
        key = (node.index, place)
        if key not in self.slot_of:
            why = None
            if constant.dtype in PACKED:
                why = Reason("channels of less than 8 bits share a byte", node.name, node.op)
            elif constant.dtype == ZEROLESS:
                why = Reason("its element type has no zero to silence a channel with", node.name, node.op)
            elif name in self.graph.repeated or name.rstrip("_") in self.graph.repeated:
                why = Reason("its name stands for other tensors too, so no plan can name it", node.name, node.op)
            axes = tuple(self.space.var(d, why) for d in constant.dims)
            self.slots.append(Slot(len(self.slots), name, node, place, axes))
            self.slot_of[key] = Tensor(axes, constant.dtype, None, True, (len(self.slots) - 1,))
        return self.slot_of[key]

    def constant(self, name: str) -> Constant | None:
        """A constant of the file by name."""
        return self.graph.constants.get(name)

    def maker(self, name: str) -> Node | None:
        """The node that makes a tensor; None for a constant of the file and for a graph input."""
        return None if name in self.graph.constants else self.graph.makers.get(name)

    def value(self, name: str) -> Values | None:
        """The elements of a small tensor, where they are known."""
        if name in self.known:
            return self.known[name].value
        if name not in self.values:
            self.values[name] = self._constant_value(name)
        return self.values[name]

    def _constant_value(self, name: str) -> Values | None:
        constant = self.graph.constants.get(name)
        if constant is None or constant.count > LARGEST:
            return None
        if constant.dtype in INTEGERS or (constant.dtype in FLOATS and constant.count == 1):
            return as_values(constant.array())
        return None

    def hint(self, name: str) -> tuple[int | str | None, ...] | None:
        """The shape that the file states for a tensor."""
        found = self.graph.hints.get(name)
        return None if found is None else found.dims

    def role(self, slots: Sequence[int], axes: Sequence[Axis], roles: Sequence[str]) -> None:
        """Note what the axes of a weight are to their channels."""
        for slot in slots:
            self.roles.setdefault(slot, []).extend((a, r) for a, r in zip(axes, roles, strict=False) if r)

    def rest(self, name: str, number: int) -> bool:
        """Note what stands for zero in a constant; False for one that other readers may see another zero in."""
        if name not in self.graph.constants or len({(n.op_type, place) for n, place in self.graph.readers[name]}) > 1:
            return False
        return self.rests.setdefault(name, number) == number

    # ---------------------------------------------------------------- the pass
    def analysis(self) -> Analysis:
        """Run every rule, settle what can be restated, and read off the groups."""
        for node, entered in self.graph.steps:
            if entered:
                self._enter(node)
            elif node.op == "Constant" and not node.domain:
                if node.outputs[0] not in self.graph.constants:
                    self.known[node.outputs[0]] = Tensor(None)
            elif not self._fold(node):
                self._apply(node)
        for signature in self.graph.outputs:
            found = self.known.get(signature.name)
            if found is not None and found.axes is not None:
                for axis in found.axes:
                    self.space.keep(axis, Reason(GRAPH_OUTPUT, signature.name))
        tie_uses(self.space, self.slots, self.roles, self.graph.constants)
        settle(self.space, self.effects, self.value)
        spared = [one for _, effect in self.effects for one in effect.spared]
        findings = Findings(self.space, self.slots, self.roles, spared)
        groups = tuple(findings.groups())
        return Analysis(
            self.graph, self.space, tuple(self.slots), tuple(self.effects), self.known, tuple(self.frozen), groups,
            tuple(findings.kept()), self.rests, tuple(self.refused),
        )  # fmt: skip  # one line a field would say no more

    def _fold(self, node: Node) -> bool:
        """True where a node is arithmetic on sizes and small integers, which is followed element by element."""
        fold = FOLDS.get(node.op) if not node.domain else None
        if fold is None or not all(node.inputs):
            return False
        given = [self.value(name) for name in node.inputs]
        values = [v for v in given if v is not None]
        if len(values) < len(given) or not values:
            return False
        dtypes = [self._dtype(name) for name in node.inputs]
        if any(d in FLOATS for d in dtypes) and not any(terms(v) for v in values) and any(v.size > 1 for v in values):
            return False
        found = fold(node, values, dtypes[0])
        results = found if isinstance(found, tuple) else (found,)
        dtype = int(node.attr("to")) if node.op == "Cast" else dtypes[-1] if node.op == "Where" else dtypes[0]
        for name, result in zip(node.outputs, results, strict=False):
            if result is None or result.size > LARGEST:
                return False
            self.known[name] = Tensor(tuple(self.space.var(d, POSITION) for d in result.shape), dtype, result)
        return True

    def _dtype(self, name: str) -> int:
        found = self.known.get(name)
        return found.dtype if found is not None else self.graph.constants[name].dtype

    def _enter(self, node: Node) -> None:
        """Make the inputs of a node's bodies known, as far as its operands tell."""
        view = View(node, self.graph.opset, self)
        for body in node.subgraphs:
            inputs: Sequence[Tensor] = [Tensor(None)] * len(body.input)
            if node.op in ENTRIES:
                try:
                    inputs = ENTRIES[node.op](view)
                except AxisError as error:
                    self._refuse(node, str(error))
            for value, tensor in zip(body.input, inputs, strict=False):
                self.known[value.name] = tensor

    def named(self, name: str) -> Tensor | None:
        """A tensor by name, as a body hands it out; a constant of the file is kept, since no operand is cut for it."""
        found = self.known.get(name)
        constant = self.graph.constants.get(name)
        if found is not None or constant is None:
            return found
        return Tensor(
            tuple(self.space.var(d, Reason("handed out of a body as it is", name)) for d in constant.dims),
            constant.dtype,
        )

    def _apply(self, node: Node) -> None:
        entry = RULES.get((node.domain, node.op))
        if entry is None:
            self._refuse(node, f"{NO_RULE} {node.domain + '.' if node.domain else ''}{node.op}")
            return
        try:
            effect = entry.rule(View(node, self.graph.opsets.get(node.domain, self.graph.opset), self))
        except AxisError as error:
            self._refuse(node, str(error))
            return
        if node.op in self.alike and not node.domain:
            tie_alike(self.space, effect.outputs)
        effect = heed_folds(self.space, self.graph.folds, node, effect, self._operands(node))
        self.effects.append((node, effect))
        self._publish(node, effect.outputs)
        places = frozen(self.space, node, {*effect.inputs, *effect.picks}, self.known)
        self.frozen.extend((node, place) for place in places)

    def _operands(self, node: Node) -> list[Tensor | None]:
        return [self.slot_of.get((node.index, k)) or self.known.get(name) for k, name in enumerate(node.inputs)]

    def _publish(self, node: Node, outputs: Sequence[Tensor]) -> None:
        slots: tuple[int, ...] = ()
        operands = self._operands(node)
        read = [t for t in operands if t is not None]
        if read and all(t.slots for t in read) and not node.subgraphs:
            slots = tuple(dict.fromkeys(s for t in read for s in t.slots))
        # Numbers that only move stand for zero by the same zero point.
        moved = operands[0].rest if node.op in MOVING and not node.domain and operands[0] is not None else None
        rest = None if moved is None or "@" in moved else moved
        for name, tensor in zip(node.outputs, outputs, strict=False):
            if name:
                self.known[name] = replace(tensor, slots=slots, rest=tensor.rest or rest)

    def _refuse(self, node: Node, why: str) -> None:
        """Keep all that a node touches, captured tensors of its bodies included; its results are graph inputs anew."""
        reason = Reason(why, node.name, node.op)
        self.refused.append((node, reason))
        for name in (*node.inputs, *self.graph.captured(node)):
            found = self.known.get(name)
            if found is not None:
                for axis in found.axes or ():
                    self.space.keep(axis, reason)
                for term in terms(found.value) if found.value is not None else ():
                    for axis in term.axes():
                        self.space.keep(axis, reason)
        for place, name in enumerate(node.inputs):
            constant = self.graph.constants.get(name)
            if constant is not None and len(constant.dims) > 1 and constant.dtype not in INTEGERS:
                weight = self.tensor(node, place)  # for the report: what it holds can't be cut
                assert weight is not None
                assert weight.axes is not None
                self.role(weight.slots, weight.axes, ["weight"] * len(weight.axes))
            for axis in (self.slot_of[node.index, place].axes or ()) if (node.index, place) in self.slot_of else ():
                self.space.keep(axis, reason)
        signatures = self._inferred(node)
        for name in node.outputs:
            hint = self.graph.hints.get(name) or signatures.get(name)
            axes = None
            if hint is not None and hint.dims is not None:
                axes = tuple(
                    self.space.var(d, reason) if isinstance(d, int) else self.space.var(UNSEEN, reason, dynamic=True)
                    for d in hint.dims
                )
            self.known[name] = Tensor(axes, 0 if hint is None else hint.dtype)

    def _inferred(self, node: Node) -> Mapping[str, Signature]:
        operands: dict[str, tuple[int, tuple[int | str | None, ...]]] = {}
        constants: dict[str, TensorProto] = {}
        for name in node.inputs:
            found, constant = self.known.get(name), self.graph.constants.get(name)
            if constant is not None:
                operands[name] = (constant.dtype, constant.dims)
                if constant.dtype in INTEGERS and constant.count <= LARGEST:
                    constants[name] = constant.proto
            elif found is not None and found.axes is not None and found.dtype:
                operands[name] = (found.dtype, tuple(None if self.space.is_dynamic(a) else a.size for a in found.axes))
        return infer_outputs(node, self.graph.opsets.get(node.domain, self.graph.opset), operands, constants)
