"""Deliberate errors in a look at a network: costs, obstacles, the picture."""

FILE = "onnx_attnprune/report/inspection/"
TESTS = ["tests/report/inspection", "tests/test_inspect.py"]

MUTANTS = [
    ("macs_of", "{**self.single, **_without_last(group)}", "_without_last(group)"),
    ("Costs.macs", "if not self.free.isdisjoint(w.ids)", "if self.free.issuperset(w.ids)"),
    ("parameters_of", "cuts_of(alone, _without_last(group))", "cuts_of(alone, self.halved)"),
    ("halved", "ratio=0.5", "ratio=0.25"),
    ("obstacles", "if len({_key(r) for r in reasons}) == 1:", "if True:"),
    ("_count_parts", "one.parts[tensor, place, start] = part.size", "one.parts[tensor, place, 0] = part.size"),
    ("_kept_parts", "if part.size > 1 and analysis.space.is_kept(part):", "if part.size > 1:"),
    ("reasons_of", "return (POSITION,) if any(", "return found if any("),
    ("_key", '(plain, reason.op) if plain == reason.why else (plain, "")', "(reason.why, reason.op)"),
    ("_count_refused", "one.uncounted += bool(weights)", "one.uncounted += 1"),
    ("_forms", "if var in parts:", "if parts:"),
    ("_joins", "and self._groups(results[0]) == self._groups(node.outputs[0])", ""),
    ("_readings", "if at == axis and p < parts", "if p < parts"),
    ("_origin", "name = outside[name]", "return name"),
    ("short", "if abs(number) >= size:", "if abs(number) > size:"),
]
