"""A compiled program as C for processors without an operating system, or with one of their own."""

from .border import Border, cut
from .export import export_c

__all__ = ["Border", "cut", "export_c"]
