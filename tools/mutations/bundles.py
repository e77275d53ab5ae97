"""Deliberate errors in bundles for phones, and in running them."""

FILE = "onnx_attnprune/deploy/"
TESTS = ["tests/deploy/test_bundle.py", "tests/deploy/test_bundling.py", "tests/test_device_run.py"]

MUTANTS = [
    ("limits", "relative * self.largest", "relative"),
    ("read_bundle", "if _digest(path) != expected:", "if False:"),
    ("_bundle", '".." in Path(name).parts', "False"),
    ("_bundle", "!= list(ROLES)", "== []"),
    ("samples_of", "random_feeds(specs, shapes, seed, limits)", "random_feeds(specs, shapes, 0, limits)"),
    ("put_part", "min((max(", "max((max("),
    ("put_part", "write_model(with_fixed_shapes(part.model, shapes), path)", "write_model(part.model, path)"),
    ("_put_set", '("output", session.output_names, outputs)', '("output", session.output_names[:1], outputs)'),
    ("_put_ort", "if not within(compare(list(expected), expected, found)):", "if False:"),
    ("tool_files", 'p.suffix == ".so"', 'p.suffix == ".a"'),
    ("run_on", 'raise type(error)(f"{error}; {left}" if left else str(error)) from None', "raise"),
    ("run_on", "place.remove()\n        raise\n", "raise\n"),
    ("_rows", "turn % max(len(turns), 1)", "0"),
    ("_rows", 'outcome="failed"', 'outcome="measured"'),
    ("_rows", "turns.get(first, ()) if k != first else ()", "turns.get(first, ())"),
    ("_checked", "if wrong:", "if False:"),
    ("_checked", "if not placement.on(provider):", "if not placement.nodes:"),
    ("_given", 'provider == "nnapi" and wanted.accelerators_only', "wanted.accelerators_only"),
    ("_timed", "for turns in (first, its)", "for turns in (its, its)"),
]  # fmt: skip  # a line each
