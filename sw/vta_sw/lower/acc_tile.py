"""One half of the accumulators: constants, reset, ALU passes. Shared by all operators.

A tile is ``blocks`` planes of ``pitch`` vectors; constants of its blocks stand behind it.
"""

from __future__ import annotations

import numpy as np
from vta_arch.config import VTAConfig
from vta_arch.encoding import alu, gemm, load
from vta_arch.isa import AluOp, Memory

from .context import Context, UopCache
from .requantize import Requantization
from .stream import StreamBuilder


class AccTile:
    """Emits compute instructions on a tile in either half of the accumulators.

    The halves differ in the top address bit, by which the hardware banks its accumulators: while one is stored the
    other is filled.
    """

    def __init__(
        self, context: Context, stream: StreamBuilder, uops: UopCache, plan: Requantization, blocks: int, pitch: int
    ) -> None:
        self._cfg: VTAConfig = context.cfg
        self._stream, self._uops, self._plan = stream, uops, plan
        self._blocks, self._pitch = blocks, pitch
        self._constants = context.pools["biases"].add(plan.packed(context.cfg)) if len(plan.vectors) else 0
        self._loaded: dict[int, tuple[int, int]] = {}

    def base(self, half: int) -> int:
        """Index of the tile's first vector."""
        return half * (self._cfg.acc_depth // 2)

    def _vector_base(self, half: int, number: int) -> int:
        return self.base(half) + self._blocks * (self._pitch + number)

    def _single_uop(self, dst: int, src: int) -> dict[str, int]:
        return self._uops.place(("alu", dst, src), lambda: np.array([[dst, src, 0]], np.int64))

    def _loops(self, blocks: int, vectors: int) -> dict[str, int]:
        outer = self._pitch if blocks > 1 else 0
        return {"iter_out": blocks, "iter_in": vectors, "dst_factor_out": outer, "dst_factor_in": 1}

    def load_constants(self, half: int, first: int, blocks: int) -> None:
        """Load the constants of output blocks [first, first + blocks) unless they are there."""
        if self._loaded.get(half) == (first, blocks):
            return
        self._loaded[half] = first, blocks
        for number in range(len(self._plan.vectors)):
            insn = load(
                self._cfg,
                Memory.ACC,
                sram_base=self._vector_base(half, number),
                dram_base=self._constants + number * self._plan.vectors.shape[1] + first,
                y_size=1,
                x_size=blocks,
                x_stride=blocks,
            )
            self._stream.add_transfer(insn, Memory.ACC, "biases")

    def reset(self, half: int, blocks: int, vectors: int) -> None:
        """Zero ``vectors`` vectors of each of ``blocks`` planes."""
        fields = {**self._single_uop(self.base(half), 0), **self._loops(blocks, vectors)}
        self._stream.add(gemm(self._cfg, reset=1, **fields), writes=[("acc", half)])

    def immediate(self, half: int, op: AluOp, imm: int, blocks: int, vectors: int) -> None:
        """An ALU pass with an immediate operand."""
        fields = {**self._single_uop(self.base(half), 0), **self._loops(blocks, vectors)}
        self._stream.add(alu(self._cfg, op, use_imm=1, imm=imm, **fields), writes=[("acc", half)])

    def requantize(self, half: int, blocks: int, vectors: int) -> None:
        """All passes of the requantization."""
        for item in self._plan.passes:
            if item.vector < 0:
                self.immediate(half, item.op, item.imm, blocks, vectors)
                continue
            uop = self._single_uop(self.base(half), self._vector_base(half, item.vector))
            insn = alu(self._cfg, item.op, src_factor_out=1 if blocks > 1 else 0, **uop, **self._loops(blocks, vectors))
            self._stream.add(insn, writes=[("acc", half)])
