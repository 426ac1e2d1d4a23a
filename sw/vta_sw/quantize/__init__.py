"""Post-training quantization: annotate, calibrate, realize. Widths come from the configuration."""

from ..quantize_choices import CalibrateMode, PartitionConversions, Rounding, WeightScale
from . import rules
from .annotate import RULES, Decision, Rule, View, annotate, annotation_rules, register_annotation
from .calibrate import TensorStats, observe
from .config import QConfig
from .flow import Quantization, prepare_for, quantize, quantize_prepared, quantize_with_report
from .integral import fully_integral
from .overrides import LayerOverride, Overrides, load_overrides
from .realize import realize
from .report import LayerReport, QuantizationReport
from .samples import Calibration, Samples, calibration_inputs
from .types import Annotation, IntType, LayerPlan, SameScale, WeightQuant

BUILT_IN_RULES = tuple(sorted(RULES))
"""Operators that have an annotation rule of their own."""

__all__ = [
    "BUILT_IN_RULES",
    "RULES",
    "Annotation",
    "CalibrateMode",
    "Calibration",
    "Decision",
    "IntType",
    "LayerOverride",
    "LayerPlan",
    "LayerReport",
    "Overrides",
    "PartitionConversions",
    "QConfig",
    "Quantization",
    "QuantizationReport",
    "Rounding",
    "Rule",
    "SameScale",
    "Samples",
    "TensorStats",
    "View",
    "WeightQuant",
    "WeightScale",
    "annotate",
    "annotation_rules",
    "calibration_inputs",
    "fully_integral",
    "load_overrides",
    "observe",
    "prepare_for",
    "quantize",
    "quantize_prepared",
    "quantize_with_report",
    "realize",
    "register_annotation",
    "rules",
]
