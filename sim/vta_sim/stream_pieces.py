"""Random instructions for test streams: each touches only the windows it is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn, alu, encode_uops, gemm, load, store
from vta_arch.isa import AluOp, Memory, sram_depth

Rng = np.random.Generator


def pick(rng: Rng, low: int, high: int) -> int:
    """A whole number from ``low`` to ``high``, both included."""
    return int(rng.integers(low, high + 1))


def chance(rng: Rng, probability: float) -> bool:
    """True with the given probability."""
    return bool(rng.random() < probability)


@dataclass(frozen=True)
class Window:
    """Scratchpad elements [base, base + size) that one phase of a stream may touch."""

    base: int
    size: int


@dataclass(frozen=True)
class Windows:
    """What a phase may touch. ``over``: how far indices may run past the end of the windows.

    ``req`` (requantization parameters) has no elements without the extension.
    """

    inp: Window
    wgt: Window
    acc: Window
    over: int = 0
    req: Window = Window(0, 0)

    def parameters(self, rng: Rng, count: int = 1) -> int:
        """The first one of ``count`` vectors of requantization parameters that hold data, wrapping at the end."""
        last = self.req.base + self.req.size - count + min(self.over, self.req.size)
        return pick(rng, self.req.base, last)

    def of(self, memory: Memory) -> Window:
        """The window that a LOAD of ``memory`` fills."""
        return {Memory.INP: self.inp, Memory.WGT: self.wgt, Memory.REQ: self.req}.get(memory, self.acc)


@dataclass
class Dram:
    """The part of memory behind one base register: random contents from element ``first`` on."""

    base: int
    first: int
    data: NDArray[np.uint8]
    elem_bytes: int

    @property
    def elements(self) -> int:
        return len(self.data) // self.elem_bytes

    @property
    def address(self) -> int:
        return self.base + self.first * self.elem_bytes


def random_shape(rng: Rng, room: int, dram: int, *, pads: bool) -> dict[str, int]:
    """Sizes, pads and stride of a transfer of at most ``room`` scratchpad and ``dram`` memory elements."""
    rows = pick(rng, 1, min(6, room))
    length = pick(rng, 1, min(room // rows, 24))
    fields = {"y_pad_0": 0, "y_pad_1": 0, "x_pad_0": 0, "x_pad_1": 0}
    if pads and chance(rng, 0.6):
        fields["y_pad_0"] = pick(rng, 0, min(15, rows - 1))
        fields["y_pad_1"] = pick(rng, 0, min(15, rows - 1 - fields["y_pad_0"]))
        fields["x_pad_0"] = pick(rng, 0, min(15, length - 1))
        fields["x_pad_1"] = pick(rng, 0, min(15, length - 1 - fields["x_pad_0"]))
    y = rows - fields["y_pad_0"] - fields["y_pad_1"]
    x = length - fields["x_pad_0"] - fields["x_pad_1"]
    widest = (dram - x) // (y - 1) if y > 1 else 2 * x
    stride = int(rng.choice([x, x, max(x - 1, 0), x + 1, 0, 2 * x]))
    return {"x_size": x, "y_size": y, "x_stride": min(stride, widest), **fields}


def span(fields: dict[str, int]) -> int:
    """DRAM elements from the first to the last one that a transfer reads."""
    return (fields["y_size"] - 1) * fields["x_stride"] + fields["x_size"]


def filled(fields: dict[str, int]) -> int:
    """Scratchpad elements that a LOAD writes."""
    rows = fields["y_pad_0"] + fields["y_size"] + fields["y_pad_1"]
    return rows * (fields["x_pad_0"] + fields["x_size"] + fields["x_pad_1"])


@dataclass
class Pieces:
    """Makes instructions; remembers the micro-ops that it put into memory and scratchpad."""

    cfg: VTAConfig
    rng: Rng
    dram: dict[Memory, Dram]
    uop_window: Window
    uop_words: list[int] = field(default_factory=list)

    def no_op(self, memory: Memory) -> Insn:
        """A LOAD that moves nothing: one of its sizes is 0, its other fields are arbitrary."""
        rng = self.rng
        empty, other = ("x_size", "y_size") if chance(rng, 0.5) else ("y_size", "x_size")
        return load(
            self.cfg,
            memory,
            sram_base=pick(rng, 0, 7),
            dram_base=pick(rng, 0, 1000),
            x_stride=pick(rng, 0, 9),
            y_pad_0=pick(rng, 0, 2),
            x_pad_1=pick(rng, 0, 2),
            **{empty: 0, other: pick(rng, 0, 3)},
            **self._padding(),
        )

    def _padding(self) -> dict[str, int]:
        """The fields of a LOAD that say what it pads with."""
        if "pad_value" not in self.cfg.extensions or chance(self.rng, 0.4):
            return {}
        return {"pad": 1, "pad_value": pick(self.rng, -128, 127)}

    def fill(self, memory: Memory, window: Window) -> Insn:
        """LOAD of a whole window."""
        source = self.dram[memory]
        start = pick(self.rng, 0, source.elements - window.size)
        return load(
            self.cfg,
            memory,
            sram_base=window.base,
            dram_base=source.first + start,
            x_size=window.size,
            y_size=1,
            x_stride=window.size,
        )

    def partial_load(self, memory: Memory, windows: Windows) -> Insn:
        """LOAD of a random block into the window of ``memory``, with pads, strides and overlaps."""
        rng, window, source = self.rng, windows.of(memory), self.dram[memory]
        fields = random_shape(rng, window.size, source.elements, pads=True)
        last = window.base + window.size - filled(fields) + windows.over
        return load(
            self.cfg,
            memory,
            sram_base=min(pick(rng, window.base, last), sram_depth(self.cfg, memory) - 1),
            dram_base=source.first + pick(rng, 0, source.elements - span(fields)),
            **fields,
            **self._padding(),
        )

    def store_block(self, windows: Windows) -> Insn:
        """STORE of a random block of the accumulator window; its rows do not overlap in memory."""
        rng, window, target = self.rng, windows.acc, self.dram[Memory.OUT]
        fields = random_shape(rng, window.size, target.elements, pads=False)
        fields["x_stride"] = max(fields["x_stride"], fields["x_size"])
        if span(fields) > target.elements:
            fields["y_size"] = 1
        shape = {name: fields[name] for name in ("x_size", "y_size", "x_stride")}
        size = fields["x_size"] * fields["y_size"]
        base = pick(rng, window.base, window.base + window.size - size + windows.over)
        # STORE ignores memory type and pads: any value must do.
        others = {"memory_type": int(rng.choice([0, 4, 4, 3, 7]))}
        if "requant" in self.cfg.extensions:
            others |= self._requantized(windows, fields["y_size"])
        else:
            others |= {"x_pad_0": pick(rng, 0, 3), "y_pad_1": pick(rng, 0, 3)}
        start = target.first + pick(rng, 0, target.elements - span(fields))
        return store(
            self.cfg, **{**shape, **others, "sram_base": min(base, self.cfg.acc_depth - 1), "dram_base": start}
        )

    def _requantized(self, windows: Windows, rows: int) -> dict[str, int]:
        """The fields of a STORE about requantization; without it they may have any value."""
        rng, by_row = self.rng, rows <= windows.req.size and chance(self.rng, 0.5)
        if chance(rng, 0.35):
            return {"req_rows": int(by_row), "req_index": pick(rng, 0, 0xFFFF)}
        return {"requant": 1, "req_rows": int(by_row), "req_index": windows.parameters(rng, rows if by_row else 1)}

    # Micro-ops -----------------------------------------------------------------------------
    def load_uops(self, table: NDArray[np.int64], over: int) -> tuple[Insn, int, int]:
        """Put micro-ops into memory; the LOAD that fetches them, and the range it fills."""
        rng, source, window = self.rng, self.dram[Memory.UOP], self.uop_window
        rows = int(rng.choice([d for d in (1, 1, 2, 3) if len(table) % d == 0]))
        length = len(table) // rows
        stride = length + pick(rng, 0, 2)
        words = encode_uops(self.cfg, table)
        start = len(self.uop_words)
        for row in range(rows):
            gap = stride if row < rows - 1 else length
            part = [int(word) for word in words[row * length : (row + 1) * length]]
            self.uop_words += part + [pick(rng, 0, 0xFFFF)] * (gap - length)
        self.uop_words += [0] * pick(rng, 0, 3)
        base = pick(rng, window.base, window.base + window.size - len(table) + over)
        base = min(base, self.cfg.uop_depth - 1)
        insn = load(
            self.cfg,
            Memory.UOP,
            sram_base=base,
            dram_base=source.first + start,
            x_size=length,
            y_size=rows,
            x_stride=stride,
        )
        return insn, base, base + len(table)

    def table(self, limits: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
        """Random micro-ops; column c from ``limits[c]`` inclusive. Often with equal or growing dst."""
        rng = self.rng
        count = pick(rng, 1, min(9, self.uop_window.size))
        columns = [rng.integers(low, high + 1, size=count) for low, high in limits]
        style = rng.random()
        if style < 0.25:
            columns[0][:] = columns[0][0]
        elif style < 0.5:
            columns[0] = np.sort(columns[0])
        return np.stack(columns, axis=1).astype(np.int64)

    def loops(self, factors: dict[str, int]) -> dict[str, int]:
        """Trip counts, and factors whose total stays within the room given for each index."""
        rng = self.rng
        outer, inner = pick(rng, 1, 5), pick(rng, 1, 5)
        if chance(rng, 0.06):
            outer = 0
        fields = {"iter_out": outer, "iter_in": inner}
        for name, room in factors.items():
            by_outer = pick(rng, 0, room // (outer - 1)) if outer > 1 and chance(rng, 0.7) else 0
            rest = room - by_outer * max(outer - 1, 0)
            by_inner = pick(rng, 0, rest // (inner - 1)) if inner > 1 and chance(rng, 0.7) else 0
            fields |= {f"{name}_factor_out": by_outer, f"{name}_factor_in": by_inner}
        if chance(rng, 0.04):
            fields["iter_in"] = 0
        return fields

    def uop_range(self, first: int, end: int) -> dict[str, int]:
        """A random part of the micro-ops from ``first`` to ``end`` (exclusive), sometimes an empty one."""
        if chance(self.rng, 0.05):
            return {"uop_bgn": first, "uop_end": first}
        begin = pick(self.rng, first, min(end, self.cfg.uop_depth) - 1)
        return {"uop_bgn": begin, "uop_end": pick(self.rng, begin + 1, end)}

    def one_bank(self, windows: Windows) -> dict[str, int]:
        """The declaration that GEMM or ALU stays in the accumulator bank of ``windows``, where it may be made."""
        acc, half = windows.acc, self.cfg.acc_depth // 2
        if (
            "overlap" not in self.cfg.extensions
            or windows.over
            or acc.base // half != (acc.base + acc.size - 1) // half
        ):
            return {}
        return {"one_bank": int(chance(self.rng, 0.6))}

    def gemm_pair(self, windows: Windows) -> list[Insn]:
        """LOAD UOP, and one or two GEMM that use it."""
        rng = self.rng
        parts = {"dst": windows.acc, "src": windows.inp, "wgt": windows.wgt}
        table = self.table([(w.base, w.base + w.size // 2) for w in parts.values()])
        fetch, first, end = self.load_uops(table, windows.over)
        room = {name: (w.size - 1 - w.size // 2) + min(windows.over, w.size // 2) for name, w in parts.items()}
        insns = [fetch]
        for _ in range(pick(rng, 1, 2)):
            reset = int(chance(rng, 0.2))
            values = self.uop_range(first, end) | self.loops(room) | self.one_bank(windows)
            insns.append(gemm(self.cfg, reset=reset, **values))
        return insns

    def alu_pair(self, windows: Windows) -> list[Insn]:
        """LOAD UOP, and one to three ALU operations that use it, with and without immediate."""
        rng, acc = self.rng, windows.acc
        half = acc.base + acc.size // 2
        table = self.table([(acc.base, half), (acc.base, half), (0, 0)])
        fetch, first, end = self.load_uops(table, windows.over)
        room = (acc.size - 1 - acc.size // 2) + min(windows.over, acc.size // 2)
        insns = [fetch]
        for _ in range(pick(rng, 1, 3)):
            op = AluOp(pick(rng, 0, 4))
            values: dict[str, int] = {"use_imm": int(chance(rng, 0.55)), "imm": pick(rng, -40, 40)}
            if chance(rng, 0.2):
                values["imm"] = pick(rng, -(1 << 15), (1 << 15) - 1)
            values |= self.uop_range(first, end) | self.loops({"dst": room, "src": room}) | self.one_bank(windows)
            insns.append(alu(self.cfg, op, **values))
        return insns
