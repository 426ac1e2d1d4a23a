"""Link: place constants and tensors in one arena, and make every dram_base count from its start."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn, encode_stream
from vta_arch.errors import ModelError
from vta_arch.isa import INSN_BYTES, Memory, insn_fields, memory_elem_bytes
from vta_arch.layout import ceil_div
from vta_arch.program import Segment, Tensor, alignment, tensor_bytes

from .lower.context import SEGMENTS, Context
from .lower.stream import Relocation


@dataclass(frozen=True)
class Linked:
    """Segments and tensors with their offsets, and the arena's size in bytes."""

    segments: tuple[Segment, ...]
    tensors: dict[str, Tensor]
    arena_size: int


class _Arena:
    def __init__(self) -> None:
        self.size = 0

    def place(self, size: int, align: int) -> int:
        offset = ceil_div(self.size, align) * align
        self.size = offset + size
        return offset


def link(
    context: Context,
    insns: list[Insn],
    relocations: list[Relocation],
    tensors: dict[str, Tensor],
    uses: dict[str, set[Memory]],
) -> Linked:
    """Place everything, patch and encode ``insns``. ``uses`` names the layouts (INP, OUT) that each tensor needs.

    Raises ModelError when the arena is larger than dram_base can address.
    """
    cfg, arena = context.cfg, _Arena()
    places = {"instructions": arena.place(len(insns) * INSN_BYTES, alignment(cfg, Memory.UOP))}
    for name, memory in SEGMENTS.items():
        places[name] = arena.place(len(context.pools[name].data()), alignment(cfg, memory))
    placed = dict(tensors)
    for name, memories in uses.items():
        placed[name] = _place_tensor(cfg, arena, tensors[name], memories)
    for item in relocations:
        if item.target in places:
            offset = places[item.target]
        else:
            tensor = placed[item.target]
            offset = tensor.out_offset if item.memory == Memory.OUT else tensor.inp_offset
        _patch(cfg, item, offset)
    data = {"instructions": encode_stream(cfg, insns)} | {name: context.pools[name].data() for name in SEGMENTS}
    segments = tuple(Segment(name, offset, data[name]) for name, offset in places.items())
    return Linked(segments, placed, arena.size)


def _place_tensor(cfg: VTAConfig, arena: _Arena, tensor: Tensor, memories: set[Memory]) -> Tensor:
    if same_layout(cfg):
        offset = arena.place(tensor_bytes(cfg, tensor, Memory.INP), alignment(cfg, Memory.INP))
        return replace(tensor, inp_offset=offset, out_offset=offset)
    offsets = {
        memory: arena.place(tensor_bytes(cfg, tensor, memory), alignment(cfg, memory)) for memory in sorted(memories)
    }
    return replace(tensor, inp_offset=offsets.get(Memory.INP, -1), out_offset=offsets.get(Memory.OUT, -1))


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
