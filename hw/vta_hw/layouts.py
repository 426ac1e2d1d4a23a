"""Amaranth layouts of instructions, micro-ops and bus channels, made from the contract's data."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Mux, Value, signed, unsigned
from amaranth.lib import data
from vta_arch.config import UOP_BITS, VTAConfig
from vta_arch.isa import INSN_BITS, Field, Memory, Opcode, insn_fields, padded_load_fields, uop_fields


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


def load_rows(cfg: VTAConfig, insn: data.View) -> Value:
    """Rows of a LOAD: ``y_size``, of which a padding value takes the upper bits."""
    if "pad_value" not in cfg.extensions:
        return insn.y_size
    return Mux(insn.pad, insn.y_size[: padded_load_fields(cfg)["y_size"].width], insn.y_size)


def load_padding(cfg: VTAConfig, insn: data.View, memory: Memory) -> Value:
    """The bits of one padding element (of a channel) of a LOAD of ``memory``; one zero bit if always zero."""
    widths = {
        Memory.INP: cfg.inp_width,
        Memory.WGT: cfg.wgt_width,
        Memory.ACC: cfg.acc_width,
        Memory.ACC_8BIT: 8,
    }
    if "pad_value" not in cfg.extensions or memory not in widths:
        return Const(0, 1)
    width = widths[memory]
    item = padded_load_fields(cfg)["pad_value"]
    value = data.View(_layout(INSN_BITS, padded_load_fields(cfg)), insn.as_value()).pad_value
    extended = Cat(value, value[-1].replicate(max(0, width - item.width)))[:width]
    return Mux(insn.pad, extended, 0)


def uop_layout(cfg: VTAConfig) -> data.FlexibleLayout:
    """The 32-bit micro-op."""
    return _layout(UOP_BITS, uop_fields(cfg))
