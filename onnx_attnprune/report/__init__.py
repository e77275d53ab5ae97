"""One `Report` of a run, its texts, and the files of a run."""

from onnx_attnprune.report.advice import advice
from onnx_attnprune.report.build import begin, lost, parameter_types, versions
from onnx_attnprune.report.files import Outputs, check_outputs, write_text
from onnx_attnprune.report.forms import REPORTS, check_reports, report_text
from onnx_attnprune.report.jsontext import to_json
from onnx_attnprune.report.model import (
    Change,
    GroupRow,
    HeldTrial,
    Histogram,
    Holding,
    KeptRow,
    PhoneChange,
    Repair,
    Report,
    Search,
    Stage,
    TimedTrial,
    Timing,
    Trial,
)
from onnx_attnprune.report.progress import Progress
from onnx_attnprune.report.results import ROOM, keeps
from onnx_attnprune.report.terminal import render

__all__ = [
    "REPORTS",
    "ROOM",
    "Change",
    "GroupRow",
    "HeldTrial",
    "Histogram",
    "Holding",
    "KeptRow",
    "Outputs",
    "PhoneChange",
    "Progress",
    "Repair",
    "Report",
    "Search",
    "Stage",
    "TimedTrial",
    "Timing",
    "Trial",
    "advice",
    "begin",
    "check_outputs",
    "check_reports",
    "keeps",
    "lost",
    "parameter_types",
    "render",
    "report_text",
    "to_json",
    "versions",
    "write_text",
]
