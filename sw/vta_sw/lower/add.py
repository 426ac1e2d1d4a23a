"""Lower a residual add: products with diagonal weights bring both inputs, each scaled, into an accumulator."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from vta_arch.config import LOOP_ITER_BITS
from vta_arch.encoding import gemm, load
from vta_arch.isa import AluOp, Memory, Opcode, insn_fields
from vta_arch.layout import ceil_div, pack_weight_bits

from ..graph.types import IntLayer
from .acc_tile import AccTile
from .context import Context, UopCache, UopTable
from .errors import NotLowerableError
from .requantize import Requantization, plan_requantization
from .stream import Resource, StreamBuilder
from .tiling import row_parts
from .timeline import slice_cycles, trial_cost

_TRIAL_CHUNKS = 128
"""An add of more tiles than this has them as large as they can be: its ends hardly matter."""


@dataclass(frozen=True)
class _Chunk:
    """Positions of one channel group: DRAM elements of its first input and output block, and sizes."""

    inp: int
    out: int
    in_blocks: int
    out_blocks: int
    count: int


@dataclass(frozen=True)
class DigitStep:
    """Products with one digit of the factors: the sum so far shifted left, then (input, digit) terms added."""

    shift: int
    terms: tuple[tuple[int, int], ...]


def digit_steps(factors: tuple[int, int], wgt_width: int) -> list[DigitStep]:
    """Multiply two inputs by ``factors`` (positive) with weights of ``wgt_width`` bits, 2 or more.

    The factors are written with digits that a weight can hold, the most significant digits come first.
    """
    bits = wgt_width - 1
    steps: list[DigitStep] = []
    shift = 0
    for digit in reversed(range(ceil_div(max(factors).bit_length(), bits))):
        shift += bits
        values = [(which, factor >> digit * bits & ((1 << bits) - 1)) for which, factor in enumerate(factors)]
        terms = tuple((which, value) for which, value in values if value)
        if terms:
            steps.append(DigitStep(shift if steps else 0, terms))
            shift = 0
    return [*steps, DigitStep(shift, ())] if shift else steps


class AddLowering:
    """The lowering of one add; making it proves that it can be lowered (else NotLowerableError).

    A group is as many channels as the larger of both blocks. Where input and output blocks are equal the whole
    tensor is one plane of one group.
    """

    def __init__(self, context: Context, layer: IntLayer) -> None:
        cfg = context.cfg
        self._context, self._cfg, self._layer = context, cfg, layer
        if cfg.wgt_width == 1:
            raise NotLowerableError("an add needs weights of 2 bits or more (a 1-bit weight cannot be 0)")
        self.plan: Requantization = plan_requantization(cfg, layer)
        n, c, h, w = layer.output.nchw
        self._images, self._channels, self._plane = ceil_div(n, cfg.batch), c, h * w
        if cfg.block_in == cfg.block_out:
            self._plane *= self._images * ceil_div(c, cfg.block_in)
            self._images, self._channels = 1, cfg.block_in
        larger = max(cfg.block_in, cfg.block_out)
        self._in_group, self._out_group = larger // cfg.block_in, larger // cfg.block_out
        larger_first = sorted(range(2), key=lambda which: -layer.factors[which])
        self._order = larger_first[0], larger_first[1]
        first, second = (layer.factors[which] for which in self._order)
        self._steps = digit_steps((first, second), cfg.wgt_width)
        self._chunk, self._edge = self._choose_chunk()

    def _most(self) -> int:
        """Most positions of a tile: both inputs in half the input memory, the outputs in half the accumulators."""
        cfg = self._cfg
        fields = insn_fields(cfg, Opcode.LOAD)
        limits = (
            cfg.inp_depth // 2 // (2 * self._in_group),
            cfg.acc_depth // 2 // self._out_group - len(self.plan.vectors),
            (1 << LOOP_ITER_BITS) - 1,
            fields["x_size"].max,
        )
        most = min(limits)
        weights = sum(len(step.terms) for step in self._steps) * max(self._in_group, self._out_group)
        if most < 1 or weights > cfg.wgt_depth or (self._plane > fields["x_stride"].max and self._groups() > 1):
            raise NotLowerableError(f"one position of an add does not fit the scratchpads of configuration {cfg.name}")
        return min(most, self._plane)

    def key(self) -> tuple[Hashable, ...]:
        """Layers of one key have the same instructions, but for addresses and constants."""
        steps = tuple((step.shift, len(step.terms)) for step in self._steps)
        return (self._images, self._channels, self._plane, self.plan.passes, self.plan.start, steps)

    def _choose_chunk(self) -> tuple[int, int]:
        """Positions of a tile, and of the first and last one: the best of some on the timeline."""
        key = self.key()
        if key not in self._context.chunks:
            most = self._most()
            least = ceil_div(self._plane, most)
            sizes = {(ceil_div(self._plane, least + more), part) for more in range(5) for part in (1, 2, 4)}
            found = sorted({(size, ceil_div(size, part)) for size, part in sizes})
            if least * self._groups() > _TRIAL_CHUNKS:
                found = [(most, most)]
            self._context.chunks[key] = min(found, key=self._trial) if len(found) > 1 else found[0]
        return self._context.chunks[key]

    def _trial(self, sizes: tuple[int, int]) -> int:
        """What these sizes cost, on the timeline; their cycles are remembered."""
        self._chunk, self._edge = sizes
        stream = StreamBuilder(self._cfg)
        self._emit(Context(self._cfg), stream)
        insns = stream.finish()
        cycles = self._context.cycles[self.key()][sizes] = slice_cycles(self._cfg, insns, stream.banks)
        return trial_cost(cycles, len(insns))

    def cycles(self) -> int:
        """Cycles of the layer alone, on the timeline."""
        known, sizes = self._context.cycles[self.key()], (self._chunk, self._edge)
        if sizes not in known:
            self._trial(sizes)
        return known[sizes]

    def _groups(self) -> int:
        return self._images * ceil_div(self._channels, max(self._cfg.block_in, self._cfg.block_out))

    def emit(self, stream: StreamBuilder) -> None:
        """Add the layer's instructions to ``stream``; tensors are called by their names."""
        self._emit(self._context, stream)

    def _emit(self, context: Context, stream: StreamBuilder) -> None:
        self._stream = stream
        self._uops = UopCache(context, stream)
        self._acc = AccTile(context, stream, self._uops, self.plan, self._out_group, self._chunk)
        chunks = list(self._chunks())
        first = stream.other_half
        self._acc.prepare(min(2, len(chunks)), first)
        self._load_weights(context)
        for number, chunk in enumerate(chunks, first):
            self._emit_chunk(number % 2, chunk)
        self._acc.finish()
        self._uops.finish()

    def _chunks(self) -> Iterator[_Chunk]:
        cfg = self._cfg
        larger = max(cfg.block_in, cfg.block_out)
        ins, outs = ceil_div(self._channels, cfg.block_in), ceil_div(self._channels, cfg.block_out)
        for image in range(self._images):
            for group in range(ceil_div(self._channels, larger)):
                left = self._channels - group * larger
                blocks = ceil_div(min(left, larger), cfg.block_in), ceil_div(min(left, larger), cfg.block_out)
                inp = (image * ins + group * self._in_group) * self._plane
                out = (image * outs + group * self._out_group) * self._plane
                for first, count in row_parts(self._plane, self._chunk, self._edge):
                    yield _Chunk(inp + first, out + first, *blocks, count)

    # Weights -------------------------------------------------------------------------------
    def _pairs(self) -> list[tuple[int, int]]:
        """(output block, input block) of a group that share channels."""
        if self._in_group > 1:
            return [(0, block) for block in range(self._in_group)]
        return [(block, 0) for block in range(self._out_group)]

    def _load_weights(self, context: Context) -> None:
        cfg = self._cfg
        rows, cols = np.arange(cfg.block_out)[:, None], np.arange(cfg.block_in)[None, :]
        tiles = [
            (o * cfg.block_out + rows == i * cfg.block_in + cols).astype(np.int64) * digit
            for step in self._steps
            for _, digit in step.terms
            for o, i in self._pairs()
        ]
        data = pack_weight_bits(np.stack(tiles), cfg.wgt_width).tobytes()
        shape = {"y_size": 1, "x_size": len(tiles), "x_stride": len(tiles)}
        insn = load(cfg, Memory.WGT, dram_base=context.pools["weights"].add(data), **shape)
        self._stream.add_transfer(insn, Memory.WGT, "weights", writes=[("wgt", 0)])

    # Chunks --------------------------------------------------------------------------------
    def _inp_base(self, half: int, place: int) -> int:
        return half * (self._cfg.inp_depth // 2) + place * self._in_group * self._chunk

    def _emit_chunk(self, half: int, chunk: _Chunk) -> None:
        for place, which in enumerate(self._order):
            shape = {"y_size": chunk.in_blocks, "x_size": chunk.count, "x_stride": self._stride(chunk.in_blocks)}
            base = self._inp_base(half, place)
            insn = load(self._cfg, Memory.INP, sram_base=base, dram_base=chunk.inp, **shape)
            name = self._layer.inputs[which].name
            self._stream.add_transfer(insn, Memory.INP, name, writes=[("inp", half, place)])
        self._acc.begin(half, 0, chunk.out_blocks, chunk.count)
        for number, step in enumerate(self._steps):
            if step.shift:
                self._acc.immediate(half, AluOp.SHR, -step.shift, chunk.out_blocks, chunk.count)
            if step.terms:
                self._gemm(half, number, chunk)
        self._acc.finish()
        self._acc.requantize(half, 0, chunk.out_blocks, chunk.count, partial(self._store, half, chunk))

    def _stride(self, blocks: int) -> int:
        return self._plane if blocks > 1 else 0

    def _gemm(self, half: int, number: int, chunk: _Chunk) -> None:
        """The products of step ``number``."""
        several = chunk.count if max(chunk.in_blocks, chunk.out_blocks) > 1 else 0
        key = ("gemm", half, number, chunk.in_blocks, chunk.out_blocks, several)
        uops = self._uops.place(key, lambda: self._table(half, number, chunk))
        loops = {"iter_out": 1, "iter_in": chunk.count, "dst_factor_in": 1, "src_factor_in": 1}
        reads: list[Resource] = [*(("inp", half, place) for place, _ in self._steps[number].terms), ("wgt", 0)]
        if number == 0 and self._acc.overlap:
            # The first product of each output block overwrites what an older tile left.
            begin = uops["uop_bgn"] + chunk.out_blocks
            overwriting = uops | {"uop_end": begin}
            self._acc.products(half, gemm(self._cfg, reset=1, **overwriting, **loops), reads)
            uops["uop_bgn"] = begin
        if uops["uop_bgn"] < uops["uop_end"]:
            self._acc.products(half, gemm(self._cfg, **uops, **loops), reads)

    def _table(self, half: int, number: int, chunk: _Chunk) -> UopTable:
        pairs = self._pairs()
        before = sum(len(step.terms) for step in self._steps[:number])
        return np.array(
            [
                (
                    self._acc.base(half) + o * chunk.count,
                    self._inp_base(half, place) + i * chunk.count,
                    (before + term) * len(pairs) + pair,
                )
                for term, (place, _) in enumerate(self._steps[number].terms)
                for pair, (o, i) in enumerate(pairs)
                if o < chunk.out_blocks and i < chunk.in_blocks
            ],
            np.int64,
        )

    def _store(self, half: int, chunk: _Chunk) -> None:
        shape = {"y_size": 1, "x_size": chunk.count, "x_stride": chunk.count}
        for block in range(chunk.out_blocks):
            dram = chunk.out + block * self._plane
            self._acc.store(half, self._layer.output.name, 0, block * chunk.count, shape | {"dram_base": dram})
