"""The store unit's reads: accumulators, narrowed or requantized, into the queue of elements to be sent."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFO
from vta_arch.config import VTAConfig

from .countdown import Countdown
from .scratchpad import bank_read

READ_AHEAD = 4
"""Accumulators read and not yet sent."""
REQUANT_READ_AHEAD = 32
"""The same where some may be in the requantizer: more than its pipeline holds."""


def read_ahead(cfg: VTAConfig) -> int:
    """Accumulators that may be read and not yet sent: the depth of the queue of elements."""
    return REQUANT_READ_AHEAD if "requant" in cfg.extensions else READ_AHEAD


def add_reads(
    m: Module, unit: wiring.Component, cfg: VTAConfig, insn: data.View, start: Value, x_size: Value, elements: SyncFIFO
) -> Value:
    """Reads ahead as far as the queue has room; data come two cycles after the address.

    ``x_size`` is that of the STORE that began last. Returns whether accumulators are still to be read.
    """
    addr = Signal(cfg.log_acc_depth, reset_less=True)
    wrapped = Signal()
    columns, rows = Countdown(len(insn.x_size), "columns", reset_less=True), Countdown(len(insn.y_size), "rows")
    reserved = Signal(range(elements.depth + 1))
    arriving, arrived = Signal(), Signal()
    narrowed = Signal(cfg.out_elem_bits, reset_less=True)
    taken = unit.acc.en & unit.acc_ready
    reads = (rows.value != 0) & (reserved != elements.depth)
    m.d.comb += [unit.acc.en.eq(reads), unit.acc.addr.eq(addr)]
    m.d.comb += [elements.w_en.eq(arrived), elements.w_data.eq(narrowed)]
    read = Array(_narrow(cfg, bank) for bank in unit.acc.banks)[bank_read(m, unit.acc)]
    m.d.sync += [arriving.eq(taken), arrived.eq(arriving), narrowed.eq(read)]
    over = wrapped
    if "requant" in cfg.extensions:
        over |= _add_requant(m, unit, cfg, insn, start, reads, taken & (columns.value == 1), narrowed, arrived)
    m.d.sync += unit.range_error.eq(taken & over)
    # ``taken`` comes late, after the banks have been given: it only enables, and no adder waits for it.
    sent = elements.r_en & elements.r_rdy
    with m.If(taken ^ sent):
        m.d.sync += reserved.eq(reserved + Mux(sent, -1, 1))
    with m.If(start):
        m.d.sync += [addr.eq(insn.sram_base), wrapped.eq(insn.sram_base >= cfg.acc_depth)]
        columns.set(m, insn.x_size)
        rows.set(m, insn.y_size)
    with m.Elif(taken):
        m.d.sync += addr.eq(addr + 1)
        columns.step(m)
        with m.If(addr.all()):
            m.d.sync += wrapped.eq(1)
        with m.If(columns.value == 1):
            columns.set(m, x_size)
            rows.step(m)
    return rows.value != 0


def _narrow(cfg: VTAConfig, values: Value) -> Value:
    """The low bits of accumulators side by side."""
    width = cfg.acc_width
    return Cat(values.word_select(n, width)[: cfg.inp_width] for n in range(len(values) // width))


def _add_requant(
    m: Module,
    unit: wiring.Component,
    cfg: VTAConfig,
    insn: data.View,
    start: Value,
    reads: Value,
    row_read: Value,
    narrowed: Signal,
    arrived: Signal,
) -> Value:
    """Reads go by the requantizer's turns, and elements come from it in parts. Returns whether the index of the
    parameters is past their end."""
    port = unit.requant
    requantizes, each_row, over = Signal(), Signal(reset_less=True), Signal(reset_less=True)
    with m.If(start):
        m.d.sync += [
            requantizes.eq(insn.requant),
            each_row.eq(insn.req_rows),
            Cat(port.index, over).eq(Cat(insn.req_index[: cfg.log_req_depth], insn.req_index >= cfg.req_depth)),
        ]
    with m.Elif(row_read & each_row):
        m.d.sync += [port.index.eq(port.index + 1), over.eq(over | port.index.all())]
    m.d.comb += [port.taken.eq(port.go & unit.acc_ready), port.bank.eq(unit.acc.addr[-1])]
    with m.If(requantizes):
        m.d.comb += [port.ask.eq(reads), unit.acc.en.eq(port.go)]
        m.d.sync += [narrowed.eq(narrowed), arrived.eq(port.part[-1])]
        bits = len(narrowed) // len(port.part)
        for place, comes in enumerate(port.part):
            with m.If(comes):
                m.d.sync += narrowed.word_select(place, bits).eq(_narrow(cfg, port.data))
    return requantizes & over
