"""The integer graph: what a QDQ network computes in integers, layer by layer."""

from .importer import import_graph
from .qdq import NotALayerError
from .scales import add_factors
from .types import IntGraph, IntLayer, Pool, QTensor, Residual

__all__ = [
    "IntGraph",
    "IntLayer",
    "NotALayerError",
    "Pool",
    "QTensor",
    "Residual",
    "add_factors",
    "import_graph",
]
