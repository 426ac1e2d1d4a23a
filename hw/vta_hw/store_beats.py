"""The store unit's write data: elements put into bus words, and these into bursts."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Const, Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFO
from vta_arch.config import VTAConfig

from .axi import MAX_BURST_BEATS
from .countdown import Countdown


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


@dataclass(frozen=True)
class _Place:
    """The next element or chunk: where it lies in its burst, and what its STORE has left."""

    position: Signal
    row_position: Signal
    columns: Countdown
    rows: Countdown
    chunk: Signal


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
    """Makes beats of elements; a row ends its beat. Beats are sent while bursts' addresses are ``ahead`` of them.

    ``row`` is the x_size and x_stride of the STORE that began last. Returns whether beats are still to be made.
    """
    sizes = _Sizes(cfg.axi_data_width // 8, cfg.out_elem_bytes)
    place = _place(sizes, insn)
    beat = data.View(unit.bus.w.payload.shape(), Signal(unit.bus.w.payload.shape().size, name="beat"))
    full = Signal()
    free = ~full | (unit.bus.w.ready & (ahead != 0))
    last_chunk = (place.chunk == sizes.chunks - 1) if sizes.chunks > 1 else Const(1)
    take = elements.r_rdy & free & (place.rows.value != 0)
    m.d.comb += [
        elements.r_en.eq(take & last_chunk),
        unit.bus.w.valid.eq(full & (ahead != 0)),
        unit.bus.w.payload.eq(beat),
    ]
    with m.If(full & unit.bus.w.ready & (ahead != 0)):
        m.d.sync += [full.eq(0), beat.strb.eq(0)]
    with m.If(take):
        _fill(m, sizes, beat, place, elements.r_data)
        row_ends = (place.columns.value == 1) & last_chunk
        m.d.sync += [full.eq(row_ends | _word_ends(sizes, place)), beat.last.eq(row_ends | place.position.all())]
        _advance(m, sizes, place, row, last_chunk, row_ends)
    with m.If(start):
        first = (unit.base + (insn.dram_base << sizes.log_elem))[sizes.log_unit :][: len(place.position)]
        m.d.sync += [place.position.eq(first), place.row_position.eq(first)]
        place.columns.set(m, insn.x_size)
        place.rows.set(m, insn.y_size)
    return place.rows.value != 0


def _place(sizes: _Sizes, insn: data.View) -> _Place:
    width = sizes.log_bus + MAX_BURST_BEATS.bit_length() - 1 - sizes.log_unit
    position, row_position = Signal(width, reset_less=True), Signal(width, reset_less=True)
    columns, rows = (
        Countdown(len(insn.x_size), "columns_left", reset_less=True),
        Countdown(len(insn.y_size), "rows_left"),
    )
    chunk = Signal(range(max(2, sizes.chunks)))
    return _Place(position, row_position, columns, rows, chunk)


def _fill(m: Module, sizes: _Sizes, beat: data.View, place: _Place, element: Value) -> None:
    """Puts an element into its lane of the beat, or a chunk of it into the whole beat."""
    if sizes.lanes > 1:
        lane = place.position[: sizes.log_bus - sizes.log_unit]
        m.d.sync += beat.data.word_select(lane, sizes.elem * 8).eq(element)
        m.d.sync += beat.strb.word_select(lane, sizes.elem).eq((1 << sizes.elem) - 1)
    else:
        m.d.sync += beat.data.eq(element.word_select(place.chunk, sizes.bus * 8))
        m.d.sync += beat.strb.eq((1 << sizes.bus) - 1)


def _word_ends(sizes: _Sizes, place: _Place) -> Value:
    """Whether the element or chunk is the last one of its bus word."""
    return place.position[: sizes.log_bus - sizes.log_unit].all() if sizes.lanes > 1 else Const(1)


def _advance(
    m: Module, sizes: _Sizes, place: _Place, row: tuple[Value, Value], last_chunk: Value, row_ends: Value
) -> None:
    """To the next element or chunk, which may be in the next row."""
    x_size, x_stride = row
    m.d.sync += place.position.eq(place.position + 1)
    if sizes.chunks > 1:
        m.d.sync += place.chunk.eq(place.chunk + 1)
    with m.If(last_chunk):
        place.columns.step(m)
    with m.If(row_ends):
        stride = (x_stride << (sizes.log_elem - sizes.log_unit))[: len(place.position)]
        following = place.row_position + stride
        place.columns.set(m, x_size)
        place.rows.step(m)
        m.d.sync += [place.position.eq(following), place.row_position.eq(following)]
