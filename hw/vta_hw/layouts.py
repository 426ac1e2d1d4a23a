"""Amaranth layouts of instructions, micro-ops and bus channels, made from the contract's data."""

from __future__ import annotations

from amaranth.hdl import signed, unsigned
from amaranth.lib import data
from vta_arch.config import REQ_CHANNEL_BYTES, UOP_BITS, VTAConfig
from vta_arch.isa import INSN_BITS, Field, Opcode, insn_fields, uop_fields
from vta_arch.requant import REQ_FIELDS


def _layout(size: int, fields: dict[str, Field]) -> data.FlexibleLayout:
    return data.FlexibleLayout(
        size,
        {
            name: data.Field(signed(item.width) if item.signed else unsigned(item.width), item.low)
            for name, item in fields.items()
        },
    )


def insn_layout(cfg: VTAConfig, opcode: Opcode) -> data.FlexibleLayout:
    """The 128-bit instruction ``opcode``, bit for bit as in the instruction set."""
    return _layout(INSN_BITS, insn_fields(cfg, opcode))


def uop_layout(cfg: VTAConfig) -> data.FlexibleLayout:
    """The 32-bit micro-op."""
    return _layout(UOP_BITS, uop_fields(cfg))


def requant_layout() -> data.FlexibleLayout:
    """Requantization parameters of one channel."""
    return _layout(REQ_CHANNEL_BYTES * 8, REQ_FIELDS)
