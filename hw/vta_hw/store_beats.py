"""The store unit's write data: elements put into bus words, and these into bursts."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Const, Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFO
from vta_arch.config import VTAConfig

from .axi import MAX_BURST_BEATS


@dataclass(frozen=True)
class _Sizes:
    """Bus word and element in bytes, both powers of two. The smaller one is the unit of positions."""

    bus: int
    elem: int

    @property
    def log_bus(self) -> int:
        return self.bus.bit_length() - 1

    @property
    def log_elem(self) -> int:
        return self.elem.bit_length() - 1

    @property
    def log_unit(self) -> int:
        return min(self.log_elem, self.log_bus)

    @property
    def chunks(self) -> int:
        """Bus words of an element."""
        return max(1, self.elem // self.bus)

    @property
    def lanes(self) -> int:
        """Elements of a bus word."""
        return max(1, self.bus // self.elem)


def add_beats(
    m: Module,
    unit: wiring.Component,
    cfg: VTAConfig,
    insn: data.View,
    start: Value,
    row: tuple[Value, Value],
    elements: SyncFIFO,
    ahead: Signal,
) -> Value:
    """Makes beats of elements; a row ends its beat, and a beat waits until its burst is ``ahead``.

    ``row`` is the x_size and x_stride of the STORE that began last. Returns whether beats are still to be made.
    """
    sizes = _Sizes(cfg.axi_data_width // 8, cfg.out_elem_bytes)
    beat = data.View(unit.bus.w.payload.shape(), Signal(unit.bus.w.payload.shape().size, name="beat"))
    full = Signal()
    free = ~full | (unit.bus.w.ready & (ahead != 0))
    columns, rows = Signal(len(insn.x_size), reset_less=True), Signal(len(insn.y_size))
    chunk = Signal(range(max(2, sizes.chunks)))
    last_chunk = (chunk == sizes.chunks - 1) if sizes.chunks > 1 else Const(1)
    take = elements.r_rdy & free & (rows != 0)
    m.d.comb += [
        elements.r_en.eq(take & last_chunk),
        unit.bus.w.valid.eq(full & (ahead != 0)),
        unit.bus.w.payload.eq(beat),
    ]
    with m.If(full & unit.bus.w.ready & (ahead != 0)):
        m.d.sync += full.eq(0)
        m.d.sync += beat.strb.eq(0)
    width = sizes.log_bus + MAX_BURST_BEATS.bit_length() - 1 - sizes.log_unit
    position, row_position = Signal(width, reset_less=True), Signal(width, reset_less=True)
    with m.If(take):
        _fill(m, sizes, beat, position, chunk, elements.r_data)
        row_ends = (columns == 1) & last_chunk
        m.d.sync += [
            full.eq(row_ends | _word_ends(sizes, position)),
            beat.last.eq(row_ends | position.all()),
            position.eq(position + 1),
        ]
        if sizes.chunks > 1:
            m.d.sync += chunk.eq(chunk + 1)
        with m.If(last_chunk):
            m.d.sync += columns.eq(columns - 1)
        with m.If(row_ends):
            _next_row(m, sizes, row, columns, rows, position, row_position)
    with m.If(start):
        first = (unit.base + (insn.dram_base << sizes.log_elem))[sizes.log_unit : sizes.log_unit + width]
        m.d.sync += [
            position.eq(first),
            row_position.eq(first),
            columns.eq(insn.x_size),
            rows.eq(insn.y_size),
        ]
    return rows != 0


def _fill(m: Module, sizes: _Sizes, beat: data.View, position: Signal, chunk: Signal, element: Value) -> None:
    """Puts an element into its lane of the beat, or a chunk of it into the whole beat."""
    if sizes.lanes > 1:
        lane = position[: sizes.log_bus - sizes.log_unit]
        m.d.sync += beat.data.word_select(lane, sizes.elem * 8).eq(element)
        m.d.sync += beat.strb.word_select(lane, sizes.elem).eq((1 << sizes.elem) - 1)
    else:
        m.d.sync += beat.data.eq(element.word_select(chunk, sizes.bus * 8))
        m.d.sync += beat.strb.eq((1 << sizes.bus) - 1)


def _word_ends(sizes: _Sizes, position: Signal) -> Value:
    """Whether the element or chunk at ``position`` is the last one of its bus word."""
    return position[: sizes.log_bus - sizes.log_unit].all() if sizes.lanes > 1 else Const(1)


def _next_row(
    m: Module,
    sizes: _Sizes,
    row: tuple[Value, Value],
    columns: Signal,
    rows: Signal,
    position: Signal,
    row_position: Signal,
) -> None:
    x_size, x_stride = row
    stride = (x_stride << (sizes.log_elem - sizes.log_unit))[: len(position)]
    following = row_position + stride
    m.d.sync += [
        columns.eq(x_size),
        rows.eq(rows - 1),
        position.eq(following),
        row_position.eq(following),
    ]
