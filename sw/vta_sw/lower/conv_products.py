"""The products of a convolution's tile: GEMM instructions and the micro-ops that they go over."""

from __future__ import annotations

import numpy as np
from vta_arch.config import VTAConfig
from vta_arch.encoding import gemm
from vta_arch.isa import Opcode, insn_fields

from .acc_tile import AccTile
from .context import UopCache, UopTable
from .geometry import ConvGeometry
from .parts import Part, Position
from .stream import Resource
from .tiling import Tiling
from .weight_tiles import Used, used_key


class ConvProducts:
    """What a lowering needs to multiply a tile by a part of its weights; the lowering sets all attributes."""

    _cfg: VTAConfig
    geometry: ConvGeometry
    tiling: Tiling
    _uops: UopCache
    _acc: AccTile
    _kept: dict[tuple[Part, Part], tuple[Used, int]]
    _wgt_shift: int

    # Places --------------------------------------------------------------------------------
    def _inp_base(self, slot: int) -> int:
        return slot * (self._cfg.inp_depth // self.tiling.inp_slots)

    def _wgt_slot(self) -> int:
        """Weight tiles from one slot to the next."""
        return self._cfg.wgt_depth // self.tiling.wgt_slots

    def _wgt_base(self, slot: int) -> int:
        return slot * self._wgt_slot() + self._wgt_shift

    def _inp_pitch(self, position: Position) -> int:
        """Scratchpad vectors from one input block to the next."""
        return self.geometry.rows.window(position.rows.count) * self.geometry.cols.window(position.cols.count)

    def _vectors(self, position: Position) -> int:
        """Outputs of each output block of a tile."""
        return position.rows.count * position.cols.count

    # Products ------------------------------------------------------------------------------
    def _block_pitch(self, position: Position) -> int:
        """Accumulators from one output block to the next."""
        return self._vectors(position)

    def _output_steps(self, width: int) -> tuple[int, int]:
        """Accumulators from one position to that below it and to that beside it, of a tile of ``width`` columns."""
        return width, 1

    def _gemm(self, slots: tuple[int, int, int], position: Position, out: Part, into: Part, *, first: bool) -> None:
        half, inp_slot, wgt_slot = slots
        rows, cols = self.geometry.rows, self.geometry.cols
        height, width = position.rows.count, position.cols.count
        if self._loops_over_blocks(position, out, into):
            self._block_products(slots, out, into, first=first)
            return
        if self._is_one_run(position, out, into):
            self._run_products(slots, position, out, into, first=first)
            return
        pitched = height if out.count > 1 or into.count > 1 else 0
        kept, _ = self._kept[out, into]
        key = ("gemm", slots, *used_key(kept), width, pitched)
        uops = self._uops.place(key, lambda: self._table(slots, position, kept), spare=self._placed_between())
        down, beside = self._output_steps(width)
        loops = {
            "iter_out": height,
            "iter_in": width,
            "dst_factor_out": down if height > 1 else 0,
            "dst_factor_in": beside if width > 1 else 1,
            "src_factor_out": rows.step * cols.window(width) if height > 1 else 0,
            "src_factor_in": cols.step if width > 1 else 0,
        }
        reads: list[Resource] = [("inp", inp_slot), ("wgt", wgt_slot)]
        if first and self._acc.overlap:
            # The first product of each sum overwrites what an older tile left.
            starts = out.count * self.geometry.phases
            overwriting = uops | {"uop_end": uops["uop_bgn"] + starts}
            self._acc.products(half, gemm(self._cfg, reset=1, **overwriting, **loops), reads)
            uops["uop_bgn"] += starts
        if uops["uop_bgn"] < uops["uop_end"]:
            self._add_products(half, uops | loops, reads, out.count)

    def _placed_between(self) -> int:
        """Micro-ops at most that what stands between the products of a part needs."""
        return 0

    def _loops_over_blocks(self, position: Position, out: Part, into: Part) -> bool:
        """Whether a dense layer's loops go over blocks: a few micro-ops then stand for all of its weight tiles."""
        kept, _ = self._kept[out, into]
        limit = insn_fields(self._cfg, Opcode.GEMM)["wgt_factor_out"].max
        return (
            kept.size > 2
            and kept.shape[2:] == (1, 1)
            and self.geometry.phases == 1
            and self.geometry.taps == self._inp_pitch(position) == 1
            and bool(kept.all())
            and into.count <= limit
        )

    def _block_products(self, slots: tuple[int, int, int], out: Part, into: Part, *, first: bool) -> None:
        """The products of one position and all blocks of a part, an output block's one after the other."""
        half, inp_slot, wgt_slot = slots
        reads: list[Resource] = [("inp", inp_slot), ("wgt", wgt_slot)]
        start = int(first and self._acc.overlap)
        if start:
            loops = {"iter_out": 1, "iter_in": out.count, "dst_factor_in": 1, "wgt_factor_in": into.count}
            self._acc.products(half, gemm(self._cfg, reset=1, **self._block_uop(slots, 0), **loops), reads)
        if start < into.count:
            loops = {"iter_out": out.count, "dst_factor_out": 1, "wgt_factor_out": into.count}
            loops |= {"iter_in": into.count - start, "src_factor_in": 1, "wgt_factor_in": 1}
            self._acc.products(half, gemm(self._cfg, **self._block_uop(slots, start), **loops), reads)

    def _is_one_run(self, position: Position, out: Part, into: Part) -> bool:
        """Whether a tile's positions follow each other without a gap: one loop goes over them, another over blocks."""
        kept, _ = self._kept[out, into]
        rows, cols, width = self.geometry.rows, self.geometry.cols, position.cols.count
        fields = insn_fields(self._cfg, Opcode.GEMM)
        return (
            out.count > 1
            and kept.shape[2:] == (1, 1)
            and self.geometry.phases == 1
            and self.geometry.taps == 1
            and (position.rows.count == 1 or rows.step * cols.window(width) == cols.step * width)
            and bool(kept.all())
            and into.count <= fields["wgt_factor_out"].max
            and self._vectors(position) <= min(fields["iter_in"].max, fields["dst_factor_out"].max)
        )

    def _run_products(
        self, slots: tuple[int, int, int], position: Position, out: Part, into: Part, *, first: bool
    ) -> None:
        """The products of such a tile: a micro-op for each input block, those of an accumulator directly in a row."""
        half, inp_slot, wgt_slot = slots
        vectors, pitch = self._vectors(position), self._inp_pitch(position)
        count = np.arange(into.count)

        def table() -> UopTable:
            src, wgt = self._inp_base(inp_slot) + count * pitch, self._wgt_base(wgt_slot) + count
            return np.stack([np.full_like(count, self._acc.base(half)), src, wgt], axis=-1)

        uops = self._uops.place(("run", slots, into.count, pitch), table, spare=self._placed_between())
        loops = {"iter_out": out.count, "dst_factor_out": vectors, "wgt_factor_out": into.count}
        loops |= {"iter_in": vectors, "dst_factor_in": 1, "src_factor_in": self.geometry.cols.step}
        reads: list[Resource] = [("inp", inp_slot), ("wgt", wgt_slot)]
        if first and self._acc.overlap:
            overwriting = uops | {"uop_end": uops["uop_bgn"] + 1}
            self._acc.products(half, gemm(self._cfg, reset=1, **overwriting, **loops), reads)
            uops["uop_bgn"] += 1
        if uops["uop_bgn"] < uops["uop_end"]:
            self._add_products(half, uops | loops, reads, 1)

    def _block_uop(self, slots: tuple[int, int, int], number: int) -> dict[str, int]:
        """The micro-op of the first output block and input block ``number``."""
        row = self._acc.base(slots[0]), self._inp_base(slots[1]) + number, self._wgt_base(slots[2]) + number
        return self._uops.place(("block", *row), lambda: np.array([row], np.int64))

    def _add_products(self, half: int, fields: dict[str, int], reads: list[Resource], blocks: int) -> None:
        """Products added to those of ``blocks`` output blocks."""
        del blocks
        self._acc.products(half, gemm(self._cfg, **fields), reads)

    def _table(self, slots: tuple[int, int, int], position: Position, kept: Used) -> UopTable:
        half, inp_slot, wgt_slot = slots
        rows, cols = self.geometry.rows, self.geometry.cols
        width = cols.window(position.cols.count)
        o, i, y, x = np.nonzero(kept)
        dst = self._acc.base(half) + o * self._block_pitch(position)
        column = x % cols.kernel  # the parts of weights that are sums meet the same input
        src = self._inp_base(inp_slot) + i * self._inp_pitch(position)
        src = src + y * rows.dilation * width + column * cols.dilation
        wgt = self._wgt_base(wgt_slot) + np.arange(len(o))
        table = np.stack([dst, src, wgt], axis=-1).astype(np.int64)
        begins = np.diff(o, prepend=-1) > 0  # the first product of each output block, to the front
        return np.concatenate([table[begins], table[~begins]]) if self._acc.overlap else table
