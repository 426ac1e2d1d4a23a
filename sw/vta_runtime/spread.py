"""A program in which every tensor keeps its place until the end, so that all of them can be looked at after a run."""

from __future__ import annotations

from dataclasses import replace

from vta_arch.encoding import Insn, decode_stream, encode_stream
from vta_arch.errors import ProgramError
from vta_arch.isa import Memory, Opcode, memory_elem_bytes
from vta_arch.layout import ceil_div
from vta_arch.program import ALONE, INSTRUCTIONS, Layer, Program, Tensor, alignment, tensor_bytes

_OF_TENSORS = (Memory.INP, Memory.ACC_8BIT)
"""Memories that LOADs fill from activations."""


def spread(program: Program) -> Program:
    """``program`` with tensors that share no memory. Its instructions differ in addresses only.

    Raises ProgramError for an instruction that reads or writes no tensor of its layer.
    """
    tensors, size = _places(program)
    code = {name: decode_stream(program.config, program.segment(name).data) for name in (INSTRUCTIONS, ALONE)}
    for layer in program.layers:
        parts = {INSTRUCTIONS: (layer.first, layer.count), ALONE: (layer.alone_first, layer.alone_count)}
        for name, (first, count) in parts.items():
            for insn in code[name][first : first + count]:
                _move(program, layer, insn, tensors)
    data = {name: encode_stream(program.config, insns) for name, insns in code.items()}
    segments = tuple(replace(item, data=data.get(item.name, item.data)) for item in program.segments)
    return replace(program, tensors=tensors, segments=segments, arena_size=size)


def _places(program: Program) -> tuple[dict[str, Tensor], int]:
    """Tensors one behind the other, and the arena's size."""
    end = max((item.offset + len(item.data) for item in program.segments), default=0)
    tensors: dict[str, Tensor] = {}

    def place(tensor: Tensor, memory: Memory) -> int:
        nonlocal end
        align = alignment(program.config, memory)
        offset = ceil_div(end, align) * align
        end = offset + tensor_bytes(program.config, tensor, memory)
        return offset

    for name, tensor in program.tensors.items():
        inp = place(tensor, Memory.INP) if tensor.inp_offset >= 0 else -1
        shared = tensor.out_offset == tensor.inp_offset or tensor.out_offset < 0
        out = (inp if tensor.out_offset >= 0 else -1) if shared else place(tensor, Memory.OUT)
        tensors[name] = replace(tensor, inp_offset=inp, out_offset=out)
    return tensors, end


def _move(program: Program, layer: Layer, insn: Insn, tensors: dict[str, Tensor]) -> None:
    """Let a LOAD or STORE of ``layer`` find its tensor in the new place."""
    if not insn.fields.get("x_size", 0) or not insn.fields.get("y_size", 0):
        return
    names: tuple[str, ...] = (layer.output,)
    if insn.opcode == Opcode.STORE:
        memory, place = Memory.OUT, "out_offset"
    elif insn.opcode == Opcode.LOAD and insn.fields["memory_type"] in _OF_TENSORS:
        memory, names, place = Memory(insn.fields["memory_type"]), layer.inputs, "inp_offset"
    else:
        return
    size = memory_elem_bytes(program.config, memory)
    address = insn.fields["dram_base"] * size
    for name in names:
        old = program.tensors[name]
        begin = getattr(old, place)
        layout = Memory.OUT if memory == Memory.OUT else Memory.INP
        if 0 <= begin <= address < begin + tensor_bytes(program.config, old, layout):
            insn.fields["dram_base"] = (address - begin + getattr(tensors[name], place)) // size
            return
    raise ProgramError(f"program: a transfer of layer {layer.name!r} at {address:#x} is in none of its tensors")
