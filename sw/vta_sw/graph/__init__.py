"""The integer graph: what a QDQ network computes in integers, layer by layer."""

from .importer import import_graph
from .types import IntGraph, IntLayer, QTensor

__all__ = ["IntGraph", "IntLayer", "QTensor", "import_graph"]
