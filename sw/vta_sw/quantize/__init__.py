"""Post-training quantization: annotate, calibrate, realize. Widths come from the configuration."""

from . import rules
from .annotate import RULES, Decision, Rule, View, annotate, annotation_rules, register_annotation
from .calibrate import TensorStats, calibration_inputs, observe
from .flow import Quantization, QuantizeOptions, quantize, quantize_with_report
from .realize import realize
from .report import LayerReport, QuantizationReport
from .types import Annotation, IntType, LayerPlan, SameScale, WeightQuant

BUILT_IN_RULES = tuple(sorted(RULES))
"""Operators that have an annotation rule of their own."""

__all__ = [
    "BUILT_IN_RULES",
    "RULES",
    "Annotation",
    "Decision",
    "IntType",
    "LayerPlan",
    "LayerReport",
    "Quantization",
    "QuantizationReport",
    "QuantizeOptions",
    "Rule",
    "SameScale",
    "TensorStats",
    "View",
    "WeightQuant",
    "annotate",
    "annotation_rules",
    "calibration_inputs",
    "observe",
    "quantize",
    "quantize_with_report",
    "realize",
    "register_annotation",
    "rules",
]
