"""Verilog of a configuration."""

from __future__ import annotations

from amaranth.back import verilog
from vta_arch.config import VTAConfig

from .top import VTATop

TOP_NAME = "vta_top"


def generate_verilog(cfg: VTAConfig) -> str:
    """The accelerator for ``cfg`` as one Verilog text with the top ``vta_top``.

    The same configuration always gives the same text.
    """
    text: str = verilog.convert(VTATop(cfg), name=TOP_NAME, emit_src=False, strip_internal_attrs=True)
    return text
