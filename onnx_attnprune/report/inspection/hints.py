"""What would help against an obstacle: the first line whose words stand in the reason."""

from __future__ import annotations

UNOPTIMISED = "prune the model before ONNX Runtime or another tool rewrites it"
INTERFACE = "the model's interface does not change; where it may, cut it in the exporter first"
FIXED_SIZES = "fix the free sizes in the file and simplify it (onnxslim, onnxsim), then prune"
FOLD = "have ONNX Runtime compute them first (level ORT_ENABLE_BASIC, optimized_model_filepath), then prune"
FLOAT_FIRST = "prune the float model, then quantise the result"

# (words of the reason, operator or "" for any, what would help)
_HINTS = (
    ("no rule for com.microsoft.nchwc", "", f"{UNOPTIMISED}: these nodes are for one processor, made at ONNX Runtime's "
                                            "level ORT_ENABLE_ALL; what ORT_ENABLE_EXTENDED writes can be pruned"),
    ("no rule for com.microsoft", "", f"{UNOPTIMISED}; or write a rule (onnx_attnprune/ops, one function)"),
    ("no rule for", "", "write a rule for it (onnx_attnprune/ops, one function), or export without this operator"),
    ("a position", "", "places in space, time or a sentence are no channels"),
    ("graph input", "", INTERFACE),
    ("graph output", "", INTERFACE),
    ("normalised over", "Softmax", "what a softmax runs over are scores of places, not channels"),
    ("normalised over", "LogSoftmax", "what a softmax runs over are scores of places, not channels"),
    ("normalised over", "GroupNormalization", "the groups themselves are free where nothing else keeps them"),
    ("normalised over", "BatchNormalization", f"where it standardises stored weights: {FOLD}"),
    ("normalised over", "", "mean and variance run over this width, so it is never cut; heads and feed-forward neurons "
                            "inside are groups of their own"),
    ("over channels", "", "a mean or sum over channels would change; nothing can be done in the file"),
    ("searched for the place", "", "the place that is found names a class: as good as a graph output"),
    ("looked up by number", "", "the numbers of a vocabulary are part of the interface"),
    ("read by index", "", "the indices are data of the run, and name rows: a vocabulary, or places"),
    ("computed at run time", "", FIXED_SIZES),
    ("known only at run time", "", FIXED_SIZES),
    ("used as a number", "", FIXED_SIZES),
    ("is not known", "", "state the shapes of inputs and outputs in the file, and run shape inference over it"),
    ("would not be zero", "", "an operator before it makes another number of zero (Sigmoid, Exp, a constant that is "
                              "added to all channels): a removed channel could not be silent"),
    ("not finite at zero", "", "a removed channel would have to be zero, of which this operator makes an infinity"),
    ("a single channel stands for it", "", "one number is read for many channels, and stays"),
    ("byte", "", FLOAT_FIRST),
    ("no zero", "", FLOAT_FIRST),
    ("quantised", "", FLOAT_FIRST),
    ("don't align", "", "channels are regrouped in sizes that don't divide each other"),
    ("lies across others", "", "a shuffle of channels that no group follows"),
    ("other tensors too", "", "give every tensor a name of its own (onnxslim and onnxsim do)"),
    ("handed out of a body", "", "a body of If, Loop or Scan hands a stored tensor out: simplify the model first"),
    ("branch", "", "the branches of If differ: simplify the model for the case that you use"),
    ("carried from turn to turn", "", "a loop's state; unroll the loop in the exporter"),
    ("scanned over", "", "a loop runs over it"),
)  # fmt: skip  # a table


def hint_for(why: str, op: str) -> str:
    """What would help against the reason `why` of an operator; "" where nothing is known."""
    return next((hint for words, name, hint in _HINTS if words in why and name in ("", op)), "")
