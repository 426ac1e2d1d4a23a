"""Lower a convolution and the residual add behind it as one layer: the sum never passes through memory in between."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import replace
from functools import partial

import numpy as np
from vta_arch.encoding import gemm, load
from vta_arch.isa import AluOp, Memory, Opcode, insn_fields
from vta_arch.layout import pack_weight_bits

from ..cycles.timing import MUL_VECTOR
from ..graph.types import IntLayer, Residual
from .context import Context
from .conv import ConvLowering, Part, Position
from .errors import NotLowerableError
from .requantize import Requantization, check_range, overlaps, plan_requantization, plan_store
from .stream import Resource, StreamBuilder
from .tiling import Beside, Tiling, best_tilings
from .timeline import requant_cycles

_ROUND = 1
"""Steps a vector that the array makes more than an ALU pass takes, before it needs that pass's results."""


class ResidualLowering(ConvLowering):
    """The lowering of a conv with a Residual; making it proves that it can be lowered (else NotLowerableError).

    Behind the products of a tile the ALU requantizes it in place and multiplies it by the first factor; a product with
    a diagonal weight tile adds the shortcut times the second factor; STORE requantizes with the add's parameters, which
    lie behind the convolution's. All that goes between the products of the next tile.
    """

    _TRIALS = 8

    def __init__(self, context: Context, layer: IntLayer) -> None:
        assert isinstance(layer.fused, Residual)
        self._residual, self._shortcut = layer.fused, layer.inputs[1]
        _check(context, self._residual)
        self._passes = _passes(self._residual.factors[0])
        super().__init__(context, layer)
        if len(self.plan.params) > context.cfg.req_depth:
            raise NotLowerableError(
                f"convolution and add need {len(self.plan.params)} requantization parameters, "
                f"configuration {context.cfg.name} holds {context.cfg.req_depth}"
            )

    def _plan(self) -> Requantization:
        cfg, sides = self._cfg, zip(self._residual.factors, (self._layer.made, self._shortcut), strict=True)
        ends = [(factor * min(side.low, 0), factor * max(side.high, 0)) for factor, side in sides]
        low, high = np.array(ends).sum(axis=0)
        check_range(cfg, np.array([low]), np.array([high]), "a sum with the shortcut")
        own, add = plan_requantization(cfg, self._layer), plan_store(cfg, self._residual.requant)
        return replace(own, params=np.concatenate([own.params, add.params]))

    def key(self) -> tuple[Hashable, ...]:
        return (*super().key(), self._passes)

    def _good_tilings(self, count: int) -> tuple[Tiling, ...]:
        cycles = round(requant_cycles(self._cfg)) + sum(steps for _, _, steps in self._passes) + 1
        return best_tilings(self._cfg, self.geometry, cycles, 0, count, Beside(shortcut=1, weights=1))

    def _emit(self, context: Context, stream: StreamBuilder, tiling: Tiling, weights: int) -> None:
        self._diagonal = self._diagonal_tile(context)
        self._has_diagonal = False
        self._gaps: deque[int] = deque()
        super()._emit(context, stream, tiling, weights)

    # Places --------------------------------------------------------------------------------
    def _shortcut_base(self) -> int:
        return self._cfg.inp_depth - self._accumulators(self.tiling) * self.tiling.out_blocks

    def _inp_base(self, slot: int) -> int:
        return slot * (self._shortcut_base() // self.tiling.inp_slots)

    def _wgt_base(self, slot: int) -> int:
        return slot * ((self._cfg.wgt_depth - 1) // self.tiling.wgt_slots)

    def _diagonal_tile(self, context: Context) -> int:
        """Where the second factor's weight tile is in the constants."""
        tile = np.eye(self._cfg.block_out, self._cfg.block_in, dtype=np.int64) * self._residual.factors[1]
        return context.pools["weights"].add(pack_weight_bits(tile[None], self._cfg.wgt_width).tobytes())

    # Steps behind a tile's products --------------------------------------------------------
    def _end_tile(self, half: int, position: Position, out: Part) -> None:
        vectors, base = position.rows.count * position.cols.count, self._acc.base(half)
        # The parameters' index is the block's: they lie one behind the other from 0.
        loops = {"iter_out": out.count, "iter_in": vectors, "dst_factor_in": 1}
        if out.count > 1:
            loops |= {"dst_factor_out": vectors, "src_factor_out": 1}
        steps = [partial(self._acc.alu, half, AluOp.REQ, (base, out.first), **loops)]
        self._gaps = deque([round(requant_cycles(self._cfg))])
        for op, imm, cycles in self._passes:
            loops = {"iter_out": 1, "iter_in": out.count * vectors, "dst_factor_in": 1, "use_imm": 1, "imm": imm}
            steps.append(partial(self._acc.alu, half, op, (base, 0), **loops))
            self._gaps.append(cycles)
        self._acc.then([*steps, partial(self._add_shortcut, half, position, out)])

    def _add_products(self, half: int, fields: dict[str, int], reads: list[Resource], blocks: int) -> None:
        """Products, and between them the steps of the tile before, each when the one before it is done."""
        while self._acc.waiting and self._gaps and fields["uop_bgn"] < fields["uop_end"]:
            middle = min(fields["uop_bgn"] + blocks * (self._gaps.popleft() + _ROUND), fields["uop_end"])
            self._acc.products(half, gemm(self._cfg, **fields | {"uop_end": middle}), reads)
            fields = fields | {"uop_bgn": middle}
            self._acc.go_on()
        if fields["uop_bgn"] < fields["uop_end"]:
            self._acc.products(half, gemm(self._cfg, **fields), reads)

    def _add_shortcut(self, half: int, position: Position, out: Part) -> None:
        self._load_diagonal()
        vectors = position.rows.count * position.cols.count
        place = ("shortcut",)
        for number, shape in self._output_shapes(position, out)[0]:
            base = self._shortcut_base() + number * vectors
            insn = load(self._cfg, Memory.INP, sram_base=base, **shape)
            self._stream.add_transfer(insn, Memory.INP, self._shortcut.name, writes=[place])
        key = ("shortcut", half)
        row = [self._acc.base(half), self._shortcut_base(), self._cfg.wgt_depth - 1]
        uops = self._uops.place(key, lambda: np.array([row], np.int64))
        loops = {"iter_out": 1, "iter_in": out.count * vectors, "dst_factor_in": 1, "src_factor_in": 1}
        self._acc.products(half, gemm(self._cfg, **uops, **loops), [place, ("wgt", "diagonal")])
        self._store(half, position, out)

    def _load_diagonal(self) -> None:
        if self._has_diagonal:
            return
        self._has_diagonal = True
        shape = {"y_size": 1, "x_size": 1, "x_stride": 1, "sram_base": self._cfg.wgt_depth - 1}
        insn = load(self._cfg, Memory.WGT, dram_base=self._diagonal, **shape)
        self._stream.add_transfer(insn, Memory.WGT, "weights", writes=[("wgt", "diagonal")])

    def _store(self, half: int, position: Position, out: Part) -> None:
        pitch = self._block_pitch(position)
        for number, shape in self._output_shapes(position, out)[0]:
            self._acc.store(half, self._layer.output.name, self.geometry.out_blocks, number * pitch, shape)


def _passes(factor: int) -> tuple[tuple[AluOp, int, int], ...]:
    """ALU operation, immediate and cycles a vector that multiply by ``factor``."""
    if factor == 1:
        return ()
    if factor & (factor - 1) == 0:
        return ((AluOp.SHR, -(factor.bit_length() - 1), 1),)
    return ((AluOp.MUL, factor, MUL_VECTOR),)


def _check(context: Context, residual: Residual) -> None:
    """Raises NotLowerableError where the hardware or the factors forbid the fusion."""
    cfg, (of_sum, of_shortcut) = context.cfg, residual.factors
    if not overlaps(cfg) or "requant" not in cfg.extensions:
        raise NotLowerableError(f"configuration {cfg.name} lacks the extensions overlap and requant")
    if cfg.block_in != cfg.block_out:
        raise NotLowerableError(f"its shortcut needs equal blocks, configuration {cfg.name} has different ones")
    limit = insn_fields(cfg, Opcode.ALU)["imm"].max
    if of_shortcut > cfg.wgt_max or of_sum > limit:
        raise NotLowerableError(
            f"the add behind it has the factors {of_sum} and {of_shortcut}, beyond the {limit} of an immediate and the "
            f"{cfg.wgt_max} of a weight"
        )
