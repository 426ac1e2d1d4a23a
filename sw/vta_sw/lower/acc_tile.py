"""One half of the accumulators: constants, start values, ALU passes. Shared by all operators.

Where the hardware runs products and ALU passes side by side (extension ``overlap``), every instruction declares its
half, and the passes of a tile are put between the products of the next one. A tile is ``blocks`` planes of vectors,
one directly behind the other, from the start of a half; constants stand at a half's end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn, alu, gemm, load, store
from vta_arch.isa import AluOp, Memory

from .context import Context, UopCache
from .req_memory import ReqMemory
from .requantize import Pass, Requantization
from .stream import ACCUMULATORS, Resource, StreamBuilder


class AccTile:
    """Emits compute instructions on a tile in either half of the accumulators.

    The halves differ in the top address bit, by which the hardware banks its accumulators: while one is stored the
    other is filled. ``blocks`` and ``vectors`` (of a block) are those of the largest tile. Constants of all blocks
    stay in the first half (with overlap: in both) for the whole layer where they fit, else each half has those of
    its tile's blocks.

    With ``parts`` = 2 each half holds two tiles without constants, so that one is stored while the other is filled:
    ``half`` then goes from 0 to 3, and its lowest bit is the half.
    """

    def __init__(
        self,
        context: Context,
        stream: StreamBuilder,
        uops: UopCache,
        plan: Requantization,
        blocks: int,
        vectors: int,
        *,
        parts: int = 1,
    ) -> None:
        self._cfg: VTAConfig = context.cfg
        self._stream, self._uops, self._plan = stream, uops, plan
        self._size, self.parts = blocks * vectors, parts
        self.overlap = plan.overwrite
        self._declared = {"one_bank": 1} if self.overlap else {}
        self._waiting: deque[Callable[[], None]] = deque()
        number, self._all_blocks = plan.vectors.shape[:2]
        self._constants = context.pools["biases"].add(plan.packed(context.cfg)) if number else 0
        self._stay = self._size + number * self._all_blocks <= self._half_depth
        self._held = self._all_blocks if self._stay else blocks
        self._loaded: dict[int, tuple[int, int]] = {}
        self._cleared: set[int] = set()
        self._req = ReqMemory(context, stream, plan, blocks)

    @property
    def _half_depth(self) -> int:
        return self._cfg.acc_depth // 2

    def base(self, half: int) -> int:
        """Index of the tile's first vector."""
        bank, part = half % 2, half // 2
        return bank * self._half_depth + part * (self._half_depth // self.parts)

    def _touched(self, half: int) -> list[Resource]:
        """What stands for the tile in ``half``."""
        parts = range(2) if self.parts == 1 else (half // 2,)
        return [(ACCUMULATORS, half % 2, part) for part in parts]

    def _bank(self, half: int) -> int | None:
        return half % 2 if self.overlap else None

    def _vector_base(self, half: int, number: int) -> int:
        home = self.base(0 if self._stay and not self.overlap else half)
        return home + self._half_depth - (len(self._plan.vectors) - number) * self._held

    def _single_uop(self, dst: int, src: int) -> dict[str, int]:
        return self._uops.place(("alu", dst, src), lambda: np.array([[dst, src, 0]], np.int64))

    def prepare(self, halves: int, first: int) -> None:
        """What can be done before the first input arrives: constants, and clearing ``halves`` halves from ``first``."""
        if self.overlap:
            return
        if self._stay:
            self._load_constants(0, 0, self._all_blocks)
        for half in range(first, first + halves):
            if self._plan.start is not None:
                self._clear(half % 2)

    def _clear(self, half: int) -> None:
        """Zero the largest tile, where the start pass finds no older result of this layer."""
        self._cleared.add(half)
        self._reset(half, self._size)

    def begin(self, half: int, first: int, blocks: int, vectors: int) -> None:
        """Start a tile of output blocks [first, first + blocks): its constants, and its start values."""
        self._req.begin(half % 2, first, blocks)
        if self.overlap:
            # The half's last passes are done: a load here waits for no product that is under way.
            self._load_constants(half, *((0, self._all_blocks) if self._stay else (first, blocks)))
            # One pass of the tile before can wait in the ALU: it need not wait until this half is stored and free.
            self.go_on()
            return
        if not self._stay:
            self._load_constants(half, first, blocks)
        if self._plan.start is None:
            self._reset(half, blocks * vectors)
            return
        if half not in self._cleared:
            self._clear(half)
        self._pass(self._plan.start, half, first, blocks, vectors)

    def _load_constants(self, half: int, first: int, blocks: int) -> None:
        number = len(self._plan.vectors)
        if not number or self._loaded.get(half) == (first, blocks):
            return
        self._loaded[half] = first, blocks
        rows = [(0, number)] if blocks == self._held else [(row, 1) for row in range(number)]
        for row, count in rows:
            insn = load(
                self._cfg,
                Memory.ACC,
                sram_base=self._vector_base(half, row),
                dram_base=self._constants + row * self._all_blocks + first,
                y_size=count,
                x_size=blocks,
                x_stride=self._all_blocks,
            )
            self._stream.add_transfer(insn, Memory.ACC, "biases", bank=self._bank(half))

    def _reset(self, half: int, count: int) -> None:
        loops = {"iter_out": 1, "iter_in": count, "dst_factor_in": 1}
        insn = gemm(self._cfg, reset=1, **self._single_uop(self.base(half), 0), **loops)
        self._stream.add(insn, writes=self._touched(half))

    def products(self, half: int, insn: Insn, reads: list[Resource]) -> None:
        """A GEMM on the tile in ``half``."""
        insn.fields.update(self._declared)
        self._stream.add(insn, reads=reads, writes=self._touched(half), bank=self._bank(half))
        self._req.load()

    def immediate(self, half: int, op: AluOp, imm: int, blocks: int, vectors: int) -> None:
        """An ALU pass with an immediate operand over ``vectors`` vectors of each of ``blocks`` planes."""
        self._pass(Pass(op, imm=imm), half, 0, blocks, vectors)

    def requantize(self, half: int, first: int, blocks: int, vectors: int, store: Callable[[], None]) -> None:
        """Requantize output blocks [first, first + blocks), then ``store``.

        With overlap step by step: see :meth:`go_on`. Where STORE requantizes there is no pass.
        """
        self._req.load()
        for item in self._plan.passes:
            self._waiting.append(partial(self._pass, item, half, first, blocks, vectors))
        self._waiting.append(store)
        if not self.overlap or not self._plan.passes:
            self.finish()

    @property
    def first_params(self) -> int:
        """Index of the first block's requantization parameters."""
        return self._req.first

    @property
    def waiting(self) -> int:
        """Steps of the tile before that are still to come."""
        return len(self._waiting)

    def then(self, steps: Iterable[Callable[[], None]]) -> None:
        """Steps behind the tile's products, one at a time beside those of the next tile: see :meth:`go_on`."""
        self._waiting.extend(steps)

    def alu(self, half: int, op: AluOp, uop: tuple[int, int], **loops: int) -> None:
        """An ALU instruction on the tile in ``half``; ``uop``: indices of its first destination and operand."""
        insn = alu(self._cfg, op, **self._single_uop(*uop), **loops, **self._declared)
        self._stream.add(insn, writes=self._touched(half), bank=self._bank(half))

    def alu_pairs(self, half: int, op: AluOp, pairs: list[tuple[int, int]], **loops: int) -> None:
        """The same on several first destinations and sources, counted from the start of the tile in ``half``."""
        base = self.base(half)
        table = np.array([(base + dst, base + src, 0) for dst, src in pairs], np.int64)
        uops = self._uops.place(("alu", half, *pairs), lambda: table)
        self._stream.add(
            alu(self._cfg, op, **uops, **loops, **self._declared), writes=self._touched(half), bank=self._bank(half)
        )

    def add_constant(
        self, half: int, number: int, first: int, places: list[tuple[int, int]], loops: dict[str, int]
    ) -> None:
        """Add constant vectors ``number`` to the tile in ``half``.

        ``places``: (output block of the tile, first vector that its constant is added to); ``first``: the tile's first
        output block; ``loops``: as of an ALU instruction.
        """
        base, constants = self.base(half), self._vector_base(half, number) + (first if self._stay else 0)
        table = np.array([(base + dst, constants + block, 0) for block, dst in places], np.int64)
        uops = self._uops.place(("constant", half, number, first, *places), lambda: table)
        insn = alu(self._cfg, AluOp.ADD, **uops, **loops, **self._declared)
        self._stream.add(insn, writes=self._touched(half), bank=self._bank(half))

    def alu_across(self, half: int, op: AluOp, dst: int, src: int, **loops: int) -> None:
        """An ALU instruction from the other half's tile into that of ``half``; it holds up the products of both."""
        uop = self._single_uop(self.base(half) + dst, self.base(1 - half) + src)
        insn = alu(self._cfg, op, **uop, **loops)
        self._stream.add(insn, reads=self._touched(1 - half), writes=self._touched(half))

    def go_on(self) -> None:
        """The next step of the tile before, beside the products of this one: the ALU takes one pass at a time."""
        if self._waiting:
            self._waiting.popleft()()

    def finish(self) -> None:
        """All that is left of the tile before."""
        while self._waiting:
            self.go_on()

    def store(
        self, half: int, tensor: str, block: int, offset: int, shape: dict[str, int], *, each_row: bool = False
    ) -> None:
        """STORE vectors from ``offset`` of the tile in ``half`` to ``tensor``: those of output block ``block``.

        ``shape``: dram_base and sizes; with ``each_row`` each row is the next block.
        """
        fields = shape | self._req.fields(half % 2, block, each_row=each_row)
        insn = store(self._cfg, sram_base=self.base(half) + offset, **fields)
        self._stream.add_transfer(insn, Memory.OUT, tensor, reads=[*self._touched(half), *self._req.reads(half % 2)])

    def _pass(self, item: Pass, half: int, first: int, blocks: int, vectors: int) -> None:
        base = self.base(half)
        if item.vector < 0:
            loops = {"iter_out": 1, "iter_in": blocks * vectors, "dst_factor_in": 1}
            insn = alu(
                self._cfg, item.op, use_imm=1, imm=item.imm, **self._single_uop(base, 0), **loops, **self._declared
            )
        else:
            uop = self._single_uop(base, self._vector_base(half, item.vector) + (first if self._stay else 0))
            loops = {"iter_out": blocks, "iter_in": vectors, "dst_factor_in": 1}
            if blocks > 1:
                loops |= {"dst_factor_out": vectors, "src_factor_out": 1}
            insn = alu(self._cfg, item.op, **uop, **loops, **self._declared)
        self._stream.add(insn, writes=self._touched(half), bank=self._bank(half))
