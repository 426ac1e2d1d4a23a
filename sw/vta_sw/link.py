"""Link: place constants and tensors in one arena, and make every dram_base count from its start."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from vta_arch.config import BASE_ALIGNMENT, VTAConfig
from vta_arch.encoding import Insn, encode_stream, finish
from vta_arch.errors import ModelError
from vta_arch.isa import INSN_BYTES, Memory, insn_fields, memory_elem_bytes
from vta_arch.layout import ceil_div
from vta_arch.program import Segment, Tensor, alignment, tensor_bytes

from .lower.context import SEGMENTS, Context
from .lower.stream import Relocation
from .memory import Block, Lifetime, place

_LAUNCH_INSNS = BASE_ALIGNMENT // INSN_BYTES
"""A launch starts at a multiple of this many instructions; the gap before it holds FINISH, never fetched."""


@dataclass(frozen=True)
class Linked:
    """Segments and tensors with their offsets, and the arena's size in bytes."""

    segments: tuple[Segment, ...]
    tensors: dict[str, Tensor]
    arena_size: int


@dataclass(frozen=True)
class Code:
    """Encoded instructions, and what in them counts from the place of a constant or a tensor."""

    insns: list[Insn] = field(default_factory=list)
    relocations: list[Relocation] = field(default_factory=list)

    def add(self, insns: list[Insn], relocations: list[Relocation]) -> None:
        """Append instructions."""
        self.insns.extend(insns)
        self.relocations.extend(relocations)

    def end_launch(self, cfg: VTAConfig) -> int:
        """Append FINISH, and up to where the next launch can start; instructions before that, FINISH included."""
        self.insns.append(finish(cfg))
        count = len(self.insns)
        while len(self.insns) % _LAUNCH_INSNS:
            self.insns.append(finish(cfg))
        return count


class _Arena:
    def __init__(self) -> None:
        self.size = 0

    def place(self, size: int, align: int) -> int:
        offset = ceil_div(self.size, align) * align
        self.size = offset + size
        return offset


def link(
    context: Context,
    code: dict[str, Code],
    tensors: dict[str, Tensor],
    uses: dict[str, set[Memory]],
    lifetimes: dict[str, Lifetime],
) -> Linked:
    """Place everything, patch and encode ``code``, by segment. ``uses`` names the layouts (INP, OUT) that each tensor
    needs, ``lifetimes`` tells which tensors may share memory.

    Raises ModelError when the arena is larger than dram_base can address.
    """
    cfg, arena = context.cfg, _Arena()
    places = {name: arena.place(len(c.insns) * INSN_BYTES, alignment(cfg, Memory.UOP)) for name, c in code.items()}
    for name, memory in SEGMENTS.items():
        places[name] = arena.place(len(context.pools[name].data()), alignment(cfg, memory))
    placed, end = _place_tensors(cfg, arena.size, tensors, uses, lifetimes)
    for item in (item for part in code.values() for item in part.relocations):
        if item.target in places:
            offset = places[item.target]
        else:
            tensor = placed[item.target]
            offset = tensor.out_offset if item.memory == Memory.OUT else tensor.inp_offset
        _patch(cfg, item, offset)
    data = {name: encode_stream(cfg, part.insns) for name, part in code.items()}
    data |= {name: context.pools[name].data() for name in SEGMENTS}
    segments = tuple(Segment(name, offset, data[name]) for name, offset in places.items())
    return Linked(segments, placed, end)


def _place_tensors(
    cfg: VTAConfig,
    start: int,
    tensors: dict[str, Tensor],
    uses: dict[str, set[Memory]],
    lifetimes: dict[str, Lifetime],
) -> tuple[dict[str, Tensor], int]:
    """All tensors, those that the accelerator uses with their offsets; and the end of the last one."""
    blocks: dict[str, Block] = {}
    layouts: dict[str, dict[Memory, str]] = {}
    for name, memories in uses.items():
        kept = {Memory.INP} if same_layout(cfg) else memories
        layouts[name] = {memory: f"{name}:{memory.name}" for memory in kept}
        for memory, block in layouts[name].items():
            size = tensor_bytes(cfg, tensors[name], memory)
            blocks[block] = Block(size, alignment(cfg, memory), lifetimes[name])
    offsets, end = place(blocks, start)
    placed = dict(tensors)
    for name, layout in layouts.items():
        inp, out = (offsets.get(layout.get(memory, ""), -1) for memory in (Memory.INP, Memory.OUT))
        placed[name] = replace(tensors[name], inp_offset=inp, out_offset=inp if same_layout(cfg) else out)
    return placed, end


def same_layout(cfg: VTAConfig) -> bool:
    """Whether a stored tensor can be loaded as it is: input and output vectors have the same channels."""
    return cfg.block_in == cfg.block_out


def _patch(cfg: VTAConfig, item: Relocation, offset: int) -> None:
    base = offset // memory_elem_bytes(cfg, item.memory) + item.insn.fields["dram_base"]
    field = insn_fields(cfg, item.insn.opcode)["dram_base"]
    if base > field.max:
        raise ModelError(
            f"the network needs more memory than the {field.width} bits of dram_base address; lower --batch"
        )
    item.insn.fields["dram_base"] = base
