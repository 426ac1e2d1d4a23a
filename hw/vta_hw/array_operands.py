"""What the products of the multiplier array multiply, of now or of some cycles ago."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Shape, Signal, Value, signed
from vta_arch.config import DEPTHWISE_GROUP, VTAConfig


def sum_shape(cfg: VTAConfig, rows: int) -> Shape:
    """Holds every sum of products of so many rows."""
    products = [a * w for a in (cfg.inp_min, cfg.inp_max) for w in (cfg.wgt_min, cfg.wgt_max)]
    return signed(1 + max(rows * max(products), ~(rows * min(products))).bit_length())


class ArrayOperands:
    """The weights of a tile and the activations that meet them, each ``age`` cycles old. What nobody asks for is not
    built.

    ``inp`` are the vectors (the taps), ``wgt`` is the tile, ``mode`` says that this is a depthwise step.
    """

    def __init__(self, m: Module, cfg: VTAConfig, *, inp: Value, wgt: Value, mode: Value) -> None:
        self._m, self._cfg = m, cfg
        self._deep = "depthwise" in cfg.extensions
        self._ages = {"inp": [inp], "wgt": [wgt], "mode": [mode]}

    def weight(self, column: int, index: int, age: int = 0) -> Value:
        """The bits of one weight."""
        cfg = self._cfg
        return self._late("wgt", age).word_select(column * cfg.block_in + index, cfg.wgt_width)

    def value(self, row: int, column: int, index: int, age: int = 0) -> Value:
        """The activation that meets weight ``index`` of ``column``: 0 in a depthwise step that does not use it."""
        cfg, taps = self._cfg, self._cfg.depthwise_taps
        value = self._element(row, index, age)
        if not self._deep:
            return value
        pair, tap = divmod(index, taps)
        channel = column // DEPTHWISE_GROUP * DEPTHWISE_GROUP + pair % DEPTHWISE_GROUP
        other = self._element(tap * cfg.batch + row, channel, age) if self.chooses(index) else value & 0
        chosen = Mux(self._late("mode", age), other, value)[: cfg.inp_width]
        return chosen.as_signed() if cfg.inp_is_signed else chosen

    def chooses(self, index: int) -> bool:
        """Whether the activations of weights ``index`` depend on the column, as those of depthwise steps do."""
        cfg = self._cfg
        return self._deep and index < DEPTHWISE_GROUP * cfg.depthwise_taps * cfg.depthwise_outputs

    def sharing(self, column: int, index: int) -> int:
        """Columns with the same number meet the same activation ``index``."""
        return column // DEPTHWISE_GROUP if self.chooses(index) else 0

    def _element(self, row: int, index: int, age: int) -> Value:
        cfg = self._cfg
        value = self._late("inp", age).word_select(row * cfg.block_in + index, cfg.inp_width)
        return value.as_signed() if cfg.inp_is_signed else value

    def _late(self, name: str, age: int) -> Value:
        ages = self._ages[name]
        while len(ages) <= age:
            # With a reset, so that tools take flip-flops, which are plenty, and not a LUT for each bit's delay.
            register = Signal(ages[-1].shape(), name=f"{name}_late{len(ages)}")
            self._m.d.sync += register.eq(ages[-1])
            ages.append(register)
        return ages[age]
