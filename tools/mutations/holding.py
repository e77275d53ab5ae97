"""Deliberate errors in the search for an amount that would hold."""

FILE = "onnx_attnprune/pipeline/holding.py"
TESTS = ["tests/test_holding.py"]

MUTANTS = [
    ("what_would_hold", "not request.fits", 'request.recover == "none"'),
    ("what_would_hold", "1.0 if judge.fitting is None else SURE", "1.0"),
    ("what_would_hold", "0.0 if untried else", ""),
    ("what_would_hold", 'request.would_hold == "off" or ', ""),
    ("what_would_hold", 'UNWANTED if request.would_hold == "foretell" else ""', '""'),
    ("_Search.found", "(aim, high, off) if found.off <= 1 else (low, aim, self._error_of(found))", "(aim, high, off)"),
    ("_Search.found", "len(self.trials) == TRIES", "False"),
    ("_Search._told", "round(1 - strength, 6)", "strength"),
    ("_Search._aim", "<= AIM", "<= 0"),
    ("_Search._try", "self.judge.fitting)", "None)"),
]
