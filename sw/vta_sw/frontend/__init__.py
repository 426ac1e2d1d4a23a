"""ONNX in: checked, fixed in shape, and in one canonical form."""

from .graph import Graph
from .load import check_model, read_model, save_model
from .prepare import load_model, prepare, prepare_float
from .session import open_session, run_session
from .work import PRODUCTS, Work, work_of

__all__ = [
    "PRODUCTS",
    "Graph",
    "Work",
    "check_model",
    "load_model",
    "open_session",
    "prepare",
    "prepare_float",
    "read_model",
    "run_session",
    "save_model",
    "work_of",
]
