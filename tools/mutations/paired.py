"""Deliberate errors in which couples are fitted, and on how many runs."""

FILE = "onnx_attnprune/recovery/paired.py"
TESTS = ["tests/recovery/test_paired.py"]

MUTANTS = [
    (
        "_fit_couples",
        "said = before.step([couple.aim], aims, aims, room)",
        "said = before.step([couple.aim], aims[:1], aims, room)",
    ),
    ("runs_for", "link.taps * ", ""),
    ("runs_for", "macs += WAY_MACS *", "macs += 0 *"),
    ("runs_for", "room - beside", "room"),
    ("runs_for", "2 * (whole - ends)", "whole"),
    ("runs_for", "if most >= UNSEEN", "if most"),
]
