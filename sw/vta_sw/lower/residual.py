"""Lower a convolution and the residual add behind it as one layer: the sum never passes through memory in between."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from vta_arch.encoding import gemm, load
from vta_arch.isa import AluOp, Memory, Opcode, insn_fields
from vta_arch.layout import pack_weight_bits

from ..cycles.timing import MUL_VECTOR
from ..graph.types import IntLayer, Residual
from .context import Context
from .conv import ConvLowering
from .errors import NotLowerableError
from .parts import Part, Position
from .requantize import Requantization, check_range, overlaps, plan_requantization, plan_store
from .stream import Resource, StreamBuilder
from .tile_costs import CHAIN_START, Beside
from .tiling import Tiling, best_tilings
from .timeline import requant_cycles, store_cycles

_ROUND = 1
"""Steps a vector that the array makes more than an ALU pass takes, before it needs that pass's results."""


_TRIAL_STEPS, _LEAST_TRIALS = 1400, 2
"""Steps of all trials of a layer."""
_HARDLY = 16
"""A tile may be held up by this part of its products' time."""
_SHORTCUT = ("shortcut",)
"""The shortcut's place in the input scratchpad."""


@dataclass
class _Step:
    """What follows a tile's products: rounds of the next tile's products before it, and what adds its instructions."""

    rounds: float
    emit: Callable[[], None]


class ResidualLowering(ConvLowering):
    """The lowering of a conv with a Residual; making it proves that it can be lowered (else NotLowerableError).

    Behind the products of a tile the ALU requantizes it in place and multiplies it by the first factor; a product with
    a diagonal weight tile adds the shortcut times the second factor; STORE requantizes with the add's parameters, which
    lie behind the convolution's. All that goes between the products of the next tile.
    """

    _TRIALS = 48

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
        each = np.broadcast_to(own.params, (self.geometry.out_blocks, own.params.shape[1]))
        return replace(own, params=np.concatenate([each, add.params]))

    def key(self) -> tuple[Hashable, ...]:
        return (*super().key(), tuple((op, cycles) for op, _, cycles in self._passes))

    def _good_tilings(self, count: int) -> tuple[Tiling, ...]:
        cycles = round(requant_cycles(self._cfg)) + sum(steps for _, _, steps in self._passes) + 1
        return best_tilings(self._cfg, self.geometry, cycles, 0, count, Beside(shortcut=1, weights=1))

    def _to_try(self, found: tuple[Tiling, ...]) -> tuple[Tiling, ...]:
        """Where many steps depend on each other the estimate is poor: one of each kind, until that is enough work."""
        kinds: dict[tuple[int | bool, ...], Tiling] = {}
        for item in found:
            kinds.setdefault((item.out_blocks, item.in_blocks, item.weights_first), item)
        few = tuple(kinds.values())
        if sum(map(self._steps, few)) < _TRIAL_STEPS // len(few):  # a short layer
            few = found
        steps = np.cumsum([self._steps(item) for item in few])
        few = few[: max(_LEAST_TRIALS, int(np.searchsorted(steps, _TRIAL_STEPS)))]
        return tuple(item for item in few if self._steps(item) <= _TRIAL_STEPS)

    def _emit(self, context: Context, stream: StreamBuilder, tiling: Tiling, weights: int) -> None:
        self._diagonal = self._diagonal_tile(context)
        self._has_diagonal = False
        self._queue: deque[_Step] = deque()
        self._to_load: deque[tuple[Position, Part]] = deque()
        self._holds_shortcut = False
        super()._emit(context, stream, tiling, weights)

    # Places --------------------------------------------------------------------------------
    def _shortcut_base(self) -> int:
        return self._cfg.inp_depth - self._accumulators(self.tiling) * self.tiling.out_blocks

    def _inp_base(self, slot: int) -> int:
        return slot * (self._shortcut_base() // self.tiling.inp_slots)

    def _wgt_slot(self) -> int:
        return (self._cfg.wgt_depth - 1) // self.tiling.wgt_slots

    def _diagonal_tile(self, context: Context) -> int:
        """Where the second factor's weight tile is in the constants."""
        tile = np.eye(self._cfg.block_out, self._cfg.block_in, dtype=np.int64) * self._residual.factors[1]
        return context.pools["weights"].add(pack_weight_bits(tile[None], self._cfg.wgt_width).tobytes())

    # Steps behind a tile's products --------------------------------------------------------
    def _parts_of_half(self, blocks: int, vectors: int) -> int:
        """Two where they fit and what happens to a tile besides products hardly ever holds up the next one.

        STORE reads a half while no engine does: while the other half takes a tile's products and shortcut.
        """
        size, room = blocks * vectors, round(self.geometry.products) + 1
        steps = requant_cycles(self._cfg) + sum(cycles for _, _, cycles in self._passes) + store_cycles(self._cfg)
        held_up = size * (steps - room) + CHAIN_START
        return 2 if 2 * size <= self._cfg.acc_depth // 2 and held_up <= size * room / _HARDLY else 1

    def _gemm(self, slots: tuple[int, int, int], position: Position, out: Part, into: Part, *, first: bool) -> None:
        while first and self._queue and not self._queue[0].rounds:
            self._queue.popleft().emit()
        if first:
            self._load_shortcut()
        super()._gemm(slots, position, out, into, first=first)

    def _placed_between(self) -> int:
        return len(self._queue)  # each step has one

    def _loops_over_blocks(self, position: Position, out: Part, into: Part) -> bool:
        """Micro-ops are split between steps."""
        del position, out, into
        return False

    def _between_parts(self) -> None:
        """Steps of the tile before count rounds of products, whatever part they belong to."""

    def _end_tile(self, half: int, position: Position, out: Part) -> None:
        self._flush()
        vectors, base = position.rows.count * position.cols.count, self._acc.base(half)
        params = self._acc.first_params + out.first
        loops = {"iter_out": out.count, "iter_in": vectors, "dst_factor_in": 1}
        if out.count > 1:
            loops |= {"dst_factor_out": vectors, "src_factor_out": 1}
        emits = [partial(self._acc.alu, half, AluOp.REQ, (base, params), **loops)]
        for op, imm, _ in self._passes:
            loops = {"iter_out": 1, "iter_in": out.count * vectors, "dst_factor_in": 1, "use_imm": 1, "imm": imm}
            emits.append(partial(self._acc.alu, half, op, (base, 0), **loops))
        emits.append(partial(self._add_shortcut, half, position, out))
        self._to_load.append((position, out))
        self._queue = deque([*self._queue, *map(_Step, self._rounds(), emits)])

    def _rounds(self) -> list[float]:
        """Rounds of the next tile's products between the steps; its first one, which overwrites, is not counted."""
        steps = [round(requant_cycles(self._cfg)), *(cycles for _, _, cycles in self._passes)]
        relaxed = [count + _ROUND for count in steps]
        if self._acc.parts > 1:
            # Behind the older tile's shortcut; and STORE takes as much of the requantizer's time.
            rounds = round(self.geometry.products) - 1
            relaxed[0] = min(2 * steps[0], max(rounds - sum(steps[1:]), 0))
        return [0, *relaxed]

    def _flush(self) -> None:
        """What is left of the tile before; its shortcut may wait for the products of one more tile."""
        kept = self._acc.parts - 1
        while len(self._queue) > kept:
            self._queue.popleft().emit()
        for step in self._queue:
            step.rounds = 0

    def _finish_tiles(self) -> None:
        while self._queue:
            self._queue.popleft().emit()

    def _add_products(self, half: int, fields: dict[str, int], reads: list[Resource], blocks: int) -> None:
        """Products, and between them the steps of the tile before, each when the one before it is done."""
        while self._queue:
            size = fields["uop_end"] - fields["uop_bgn"]
            if size < blocks * self._queue[0].rounds:
                self._queue[0].rounds -= size / blocks
                break
            step = self._queue.popleft()
            middle = fields["uop_bgn"] + round(blocks * step.rounds)
            if middle > fields["uop_bgn"]:
                self._acc.products(half, gemm(self._cfg, **fields | {"uop_end": middle}), reads)
            fields = fields | {"uop_bgn": middle}
            step.emit()
        if fields["uop_bgn"] < fields["uop_end"]:
            self._acc.products(half, gemm(self._cfg, **fields), reads)

    def _load_shortcut(self) -> None:
        """That of the next tile, if the older one's has been read."""
        if not self._to_load or self._holds_shortcut:
            return
        self._holds_shortcut = True
        self._load_diagonal()
        position, out = self._to_load.popleft()
        for number, shape in self._output_shapes(position, out)[0]:
            base = self._shortcut_base() + number * self._block_pitch(position)
            insn = load(self._cfg, Memory.INP, sram_base=base, **shape)
            self._stream.add_transfer(insn, Memory.INP, self._shortcut.name, writes=[_SHORTCUT])

    def _add_shortcut(self, half: int, position: Position, out: Part) -> None:
        self._load_shortcut()
        key = ("shortcut", half)
        row = [self._acc.base(half), self._shortcut_base(), self._cfg.wgt_depth - 1]
        uops = self._uops.place(key, lambda: np.array([row], np.int64))
        vectors = out.count * self._block_pitch(position)
        loops = {"iter_out": 1, "iter_in": vectors, "dst_factor_in": 1, "src_factor_in": 1}
        self._acc.products(half, gemm(self._cfg, **uops, **loops), [_SHORTCUT, ("wgt", "diagonal")])
        self._holds_shortcut = False
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
