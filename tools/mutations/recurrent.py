"""Deliberate errors in the rules of recurrent layers."""

MUTANTS = [
    ("lstm", "gates=4", "gates=2"),
    ("lstm", "through=(1, 2)", "through=(1,)"),
    ("gru", "gates=3", "gates=1"),
    ("gru", "through=(1,)", "through=()"),
    ("rnn", "through=(0,)", "through=()"),
    ("recurrent", 'n.keep([v["g"], v["two"], v["three"]], "a gate")', "pass"),
    ("recurrent", 'n.keep(v["d"], "a direction")', "pass"),
    ("recurrent", '{"hidden_size": v["h"]}', "{}"),
    ("recurrent", '"d (g h) i"', '"d (h g) i"'),
    ("_contract", "if not silent and", "if False and"),
]
