"""Deliberate errors in speaking to a phone, and in reading what the tools there print."""

FILE = "onnx_attnprune/phone/"
TESTS = ["tests/phone"]

MUTANTS = [
    ("shell", "if end and code is not None:", "if code is not None or done.returncode == 0:"),
    ("shell", "int(code[1])", "done.returncode"),
    ("push", "if done.returncode:", "if False:"),
    ("connected", 'if phones[chosen] != "device":', "if False:"),
    ("_chosen", "if len(phones) > 1 and len(usable) != 1:", "if len(usable) > 2:"),
    ("_listed", 'row[0] != "*"', 'row[0] == "*"'),
    ("meaning", "text, re.MULTILINE)", "text[:20], re.MULTILINE)"),
    ("brief", "last = lines[-1] if lines", "last = lines[0] if lines"),
    ("_clean", 'c if c.isprintable() else " "', "c"),
    ("outputs_fault", "if passed == total:", "if passed:"),
    ("outputs_fault", "or answer.code in SIGNALS", ""),
    ("measured_of", "if len(seconds) != runs:", "if not seconds:"),
    ("measured_of", "0 < s < math.inf", "0 <= s < math.inf"),
    ("measured_of", "if answer.code:", "if answer.code > 255:"),
    ("placed_on", 'event.get("cat") == "Node" and', ""),
    ("placed_on", 'event["name"]: (', 'id(event): ('),
    ("put", "if there.get(path) != size:", "if path not in there:"),
    ("started", 'if "options" in asked.text:', "if asked.code in (0, 255):"),
    ("run", "self.stop()", "pass"),
    ("text", "; rm -f {pattern}", ""),
    ("remove", "rm -rf {self.folder}", "true"),
]  # fmt: skip  # a line each
