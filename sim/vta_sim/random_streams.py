"""Random instruction streams whose result does not depend on the units' relative speed.

A stream is a sequence of phases. In each, the load unit fills one half of the input and weight
scratchpads, compute works on it and on one half of the accumulators, and the store unit sends some
of these. Tokens order the phases; in the overlapped flavours the halves alternate, so that the
units really work at the same time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray
from vta_arch.config import BASE_ALIGNMENT, VTAConfig
from vta_arch.encoding import Insn, alu, encode_stream, finish, store
from vta_arch.isa import INSN_BYTES, AluOp, Memory, loadable, opcodes, sram_depth
from vta_runtime.device import Device, RunResult

from .extension_pieces import depthwise_pair, requant_pair
from .hazard_pieces import hazard
from .random_configs import named_configs, random_config
from .stream_memory import DRAM_MEMORIES, PARAMETERS, place_memory
from .stream_pieces import Pieces, Rng, Window, Windows, chance, pick

__all__ = ["Flavour", "StreamCase", "named_configs", "random_config", "random_stream"]


class Flavour(Enum):
    """How a stream orders its units, and whether it does wrong on purpose."""

    SERIAL = "serial"
    OVERLAPPED = "overlapped"
    TOKENS = "tokens"
    """Overlapped, with bursts of token-only instructions."""
    HAZARDS = "hazards"
    """Serial units, with sequences in compute that provoke hazards between its engines, in both banks."""
    FAULTS = "faults"
    """Serial, with unknown opcodes and memories and indices past the end: sticky errors, defined results."""


@dataclass(frozen=True)
class StreamCase:
    """An instruction stream with everything that it needs.

    ``memory`` are (byte address, contents), not overlapping; what is not listed is zero. ``outputs`` are
    (byte address, size) of what the stream writes. The stream initialises what it reads of the scratchpads.
    """

    config: VTAConfig
    insn_address: int
    instructions: bytes
    memory: tuple[tuple[int, bytes], ...]
    bases: dict[Memory, int]
    outputs: tuple[tuple[int, int], ...]
    description: str

    @property
    def insn_count(self) -> int:
        return len(self.instructions) // INSN_BYTES

    def run(self, device: Device) -> tuple[RunResult, list[NDArray[np.uint8]]]:
        """Load memory, launch, and read the outputs back."""
        for address, data in self.memory:
            device.write(address, data)
        device.write(self.insn_address, self.instructions)
        result = device.launch(self.insn_address, self.insn_count, self.bases)
        return result, [device.read(address, size) for address, size in self.outputs]


def random_stream(cfg: VTAConfig, rng: Rng, flavour: Flavour | None = None) -> StreamCase:
    """A race-free stream of a few dozen instructions, ending in FINISH.

    Args:
        flavour: None takes any but FAULTS at random.
    """
    if flavour is None:
        flavour = (Flavour.SERIAL, Flavour.OVERLAPPED, Flavour.TOKENS, Flavour.HAZARDS)[pick(rng, 0, 3)]
    return _Builder(cfg, rng, flavour).build()


_EXTRAS: dict[str, list[Callable[[Pieces, Windows], list[Insn]]]] = {
    "requant": [requant_pair, lambda pieces, windows: [pieces.partial_load(Memory.REQ, windows)]],
    "depthwise": [depthwise_pair, depthwise_pair],
}
"""What compute may do besides, by extension."""


def _with(insn: Insn, **bits: int) -> Insn:
    return replace(insn, fields={**insn.fields, **bits})


class _Builder:
    def __init__(self, cfg: VTAConfig, rng: Rng, flavour: Flavour) -> None:
        self.cfg, self.rng, self.flavour = cfg, rng, flavour
        self.lookahead = 2 if flavour in (Flavour.OVERLAPPED, Flavour.TOKENS) else 1
        self.phases = pick(rng, 2, 5)
        self.dram = place_memory(cfg, rng)
        depth = cfg.uop_depth
        size = min(depth, 24)
        faults = flavour is Flavour.FAULTS
        base = depth - size if faults else pick(rng, 0, depth - size)
        self.pieces = Pieces(cfg, rng, self.dram, Window(base, size))
        self.windows = (self._windows(0), self._windows(1))
        self.extras = [make for name, makers in _EXTRAS.items() if name in cfg.extensions for make in makers]

    # Memory --------------------------------------------------------------------------------
    def _windows(self, bank: int) -> Windows:
        faults = self.flavour is Flavour.FAULTS

        def window(memory: Memory, most: int) -> Window:
            depth = sram_depth(self.cfg, memory)
            size = min(depth // 2, most)
            low, high = (0, depth // 2 - size) if bank == 0 else (depth // 2, depth - size)
            if faults or chance(self.rng, 0.3):
                return Window(low if bank == 0 else high, size)
            return Window(pick(self.rng, low, high), size)

        inp, wgt, acc = window(Memory.INP, 20), window(Memory.WGT, 6), window(Memory.ACC, 20)
        # Past the end of the second window comes index 0: the first one, which nobody else uses then.
        over = min(inp.size, wgt.size, acc.size) // 2 if faults and bank else 0
        req = window(Memory.REQ, PARAMETERS // 2) if "requant" in self.cfg.extensions else Window(0, 0)
        return Windows(inp, wgt, acc, over, req)

    # Phases --------------------------------------------------------------------------------
    def _loads(self, phase: int) -> list[Insn]:
        rng, pieces, windows = self.rng, self.pieces, self.windows[phase % 2]
        if phase < 2:
            filled = self._filled(phase)
            insns = [pieces.fill(m, w.of(m)) for w in filled for m in (Memory.INP, Memory.WGT)]
        else:
            insns = [self._load(windows) for _ in range(pick(rng, 0, 3))]
        if not insns or chance(rng, 0.2):
            insns.append(pieces.no_op(Memory.INP if chance(rng, 0.5) else Memory.WGT))
        if phase >= self.lookahead:
            insns[0] = _with(insns[0], pop_next=1)
        insns[-1] = _with(insns[-1], push_next=1)
        # LOAD has no previous unit: these bits must be ignored.
        return [_with(i, pop_prev=pick(rng, 0, 1), push_prev=pick(rng, 0, 1)) if chance(rng, 0.2) else i for i in insns]

    def _filled(self, phase: int) -> tuple[Windows, ...]:
        """The windows that a phase may read: its own, or with hazards both."""
        return self.windows if self.flavour is Flavour.HAZARDS else (self.windows[phase % 2],)

    def _load(self, windows: Windows) -> Insn:
        return self.pieces.partial_load(Memory.INP if chance(self.rng, 0.6) else Memory.WGT, windows)

    def _compute(self, phase: int) -> list[Insn]:
        rng, pieces, windows = self.rng, self.pieces, self.windows[phase % 2]
        insns: list[Insn] = []
        if phase < 2:
            for memory in (Memory.ACC, Memory.REQ) if "requant" in self.cfg.extensions else (Memory.ACC,):
                insns += [pieces.fill(memory, filled.of(memory)) for filled in self._filled(phase)]
        provoked = {Flavour.HAZARDS: 0.8, Flavour.FAULTS: 0.0}.get(self.flavour, 0.25)
        for _ in range(pick(rng, 1, 4)):
            kind = rng.random()
            if chance(rng, provoked):
                insns += hazard(pieces, self._filled(phase))
            elif self.extras and chance(rng, 0.4):
                insns += self.extras[pick(rng, 0, len(self.extras) - 1)](pieces, windows)
            elif kind < 0.45:
                insns += pieces.gemm_pair(windows)
            elif kind < 0.8:
                insns += pieces.alu_pair(windows)
            elif kind < 0.95:
                insns.append(pieces.partial_load(Memory.ACC if chance(rng, 0.5) else Memory.ACC_8BIT, windows))
            else:
                insns.append(pieces.no_op(Memory.UOP if chance(rng, 0.5) else Memory.ACC))
        if self.flavour is Flavour.FAULTS:
            insns.insert(pick(rng, 0, len(insns)), self._fault())
        waits = {"pop_prev": 1, "pop_next": int(phase >= self.lookahead)}
        if chance(rng, 0.4):
            insns.insert(0, pieces.no_op(Memory.UOP))
        if waits["pop_next"] and chance(rng, 0.3):
            insns = [_with(pieces.no_op(Memory.ACC), pop_next=1), *insns]
            waits["pop_next"] = 0
        insns[0] = _with(insns[0], **{bit: value | insns[0][bit] for bit, value in waits.items()})
        if not insns[-1]["push_next"]:
            insns[-1] = _with(insns[-1], push_prev=1, push_next=1)
        everything = self.flavour is Flavour.HAZARDS or "requant" in self.cfg.extensions
        if everything and insns[-1].fields.get("one_bank"):
            # The tokens of a declared instruction speak of its bank only; the neighbours use both here, or parameters.
            insns[-1] = _with(insns[-1], one_bank=0)
        return insns

    def _fault(self) -> Insn:
        """A LOAD of an unknown memory type: nothing moves."""
        insn = self.pieces.partial_load(Memory.ACC, self.windows[0])
        unknown = [number for number in range(8) if number not in loadable(self.cfg)]
        return _with(insn, memory_type=int(self.rng.choice(unknown)))

    def _stores(self, phase: int) -> list[Insn]:
        rng, pieces, windows = self.rng, self.pieces, self.windows[phase % 2]
        insns = [pieces.store_block(windows) for _ in range(pick(rng, 0, 4 if "requant" in self.cfg.extensions else 2))]
        if not insns or chance(rng, 0.2):
            insns.append(store(self.cfg, memory_type=0, y_size=pick(rng, 0, 2)))
        insns[0] = _with(insns[0], pop_prev=1)
        insns[-1] = _with(insns[-1], push_prev=1)
        # STORE has no next unit: these bits must be ignored.
        return [_with(i, pop_next=pick(rng, 0, 1), push_next=pick(rng, 0, 1)) if chance(rng, 0.2) else i for i in insns]

    def _token_burst(self) -> list[Insn]:
        """Many tokens ahead in every queue, taken again one by one."""
        count, pieces = pick(self.rng, 2, 12), self.pieces
        gives = [_with(pieces.no_op(Memory.INP), push_next=1) for _ in range(count)]
        passes = [
            _with(pieces.no_op(Memory.UOP), pop_prev=1, push_next=1, push_prev=int(n % 2 == 0)) for n in range(count)
        ]
        back = [store(self.cfg, memory_type=0, pop_prev=1, push_prev=1) for _ in range(count)]
        takes = [_with(pieces.no_op(Memory.UOP), pop_next=1) for _ in range(count)]
        freed = [_with(pieces.no_op(Memory.WGT), pop_next=1) for _ in range(-(-count // 2))]
        return gives + passes + back + takes + freed

    def _dump(self) -> list[Insn]:
        """Store all accumulators that were used, several times, shifted, so that every bit is seen."""
        cfg, pieces = self.cfg, self.pieces
        width = min(8, cfg.inp_width * 2)
        insns = [_with(pieces.no_op(Memory.UOP), pop_next=1) for _ in range(min(self.lookahead, self.phases))]
        bases = [windows.acc.base for windows in self.windows]
        fetch, first, _ = pieces.load_uops(np.array([[base, 0, 0] for base in bases], dtype=np.int64), 0)
        insns.append(fetch)
        target, size = self.dump_target, max(windows.acc.size for windows in self.windows)
        for step in range(4):
            insns[-1] = _with(insns[-1], push_next=1)
            for bank, windows in enumerate(self.windows):
                tokens = {"pop_prev": int(bank == 0), "push_prev": int(bank == 1)}
                shape = {"x_size": size, "y_size": 1, "x_stride": size, "sram_base": windows.acc.base}
                insns.append(store(cfg, dram_base=target + (2 * step + bank) * size, **shape, **tokens))
            loop = {"uop_bgn": first, "uop_end": first + 2, "iter_out": 1, "iter_in": size, "dst_factor_in": 1}
            insns.append(alu(cfg, AluOp.SHR, use_imm=1, imm=width, pop_next=1, **loop))
        return insns

    def _sequence(self) -> list[Insn]:
        """The phases, loads as early as their tokens allow, so that no queue depth can stop the stream."""
        ahead = self.lookahead - 1
        insns: list[Insn] = []
        loads = [self._loads(phase) for phase in range(self.phases)]
        for phase in range(-ahead, self.phases):
            if phase + ahead < self.phases:
                insns += loads[phase + ahead]
            if phase >= 0:
                insns += self._compute(phase) + self._stores(phase)
        # Tokens that nobody needs any more: the last phases' from compute to load.
        drained = [_with(self.pieces.no_op(Memory.INP), pop_next=1) for _ in range(min(self.lookahead, self.phases))]
        insns += drained if chance(self.rng, 0.7) or self.flavour is Flavour.TOKENS else []
        insns += self._dump()
        if self.flavour is Flavour.TOKENS:
            insns += self._token_burst()
        return insns

    def build(self) -> StreamCase:
        """The finished case."""
        rng, cfg = self.rng, self.cfg
        out = self.dram[Memory.OUT]
        self.dump_target = out.first + out.elements + pick(rng, 0, 5)
        insns = self._sequence()
        words = encode_stream(cfg, [*insns, finish(cfg, push_prev=pick(rng, 0, 1), push_next=pick(rng, 0, 1))])
        if self.flavour is Flavour.FAULTS:
            words = self._unknown_opcode() + words
        if chance(rng, 0.3):
            words += encode_stream(cfg, [self.pieces.store_block(self.windows[0])])
        uop = self.dram[Memory.UOP]
        uop_bytes = np.array(self.pieces.uop_words, dtype="<u4").tobytes()
        placed = [m for m in self.dram if m is not Memory.ACC_8BIT]
        memory = [(self.dram[m].address, self.dram[m].data.tobytes()) for m in placed if m is not Memory.UOP]
        memory.append((uop.address, uop_bytes))
        size = (self.dump_target - out.first) * out.elem_bytes
        size += 8 * max(windows.acc.size for windows in self.windows) * out.elem_bytes
        return StreamCase(
            config=cfg,
            insn_address=BASE_ALIGNMENT * pick(rng, 0, 999),
            instructions=words,
            memory=tuple(sorted(memory)),
            bases={m: self.dram[m].base for m in DRAM_MEMORIES},
            outputs=((out.address, size),),
            description=f"{self.flavour.value} stream of {len(words) // INSN_BYTES} instructions for {cfg.name}",
        )

    def _unknown_opcode(self) -> bytes:
        known = {int(opcode) for opcode in opcodes(self.cfg)}
        number = int(self.rng.choice([n for n in range(8) if n not in known]))
        word = int.from_bytes(self.rng.bytes(INSN_BYTES), "little") & ~7 | number
        return word.to_bytes(INSN_BYTES, "little")
