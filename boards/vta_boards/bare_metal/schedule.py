"""A program's steps as the statements of one run: what the executor does, decided beforehand."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from vta_arch.errors import ProgramError
from vta_arch.isa import INSN_BYTES, Memory
from vta_arch.packing import PackStep
from vta_arch.program import INSTRUCTIONS, CpuStep, Program, Region, Tensor, tensor_bytes

from . import c_text
from .border import region_inputs
from .cpu_nodes import write_cpu_step
from .values import Body, Value

_KINDS = ("float32", "int8", "uint8")


@dataclass
class Schedule:
    """The statements of a run and the tensors in the arena that they name."""

    program: Program
    body: Body = field(default_factory=Body)
    tensors: list[str] = field(default_factory=list)
    """Initializers of vta_tensor."""
    _values: dict[str, Value] = field(default_factory=dict)
    _places: dict[tuple[str, int], str] = field(default_factory=dict)
    _packed: set[str] = field(default_factory=set)
    _resident: set[str] = field(default_factory=set)

    def write(self) -> None:
        """Write all steps. Raises ProgramError for what has no form in C."""
        for number, name in enumerate(self.program.inputs):
            tensor = self.program.tensors[name]
            self._values[name] = Value(f"inputs[{number}]", _checked(tensor).host_dtype, tensor.shape)
        for step in self.program.steps:
            if isinstance(step, CpuStep):
                self._fetch(step.inputs)
                write_cpu_step(self.body, step, self.program.tensors, self._values)
            elif isinstance(step, PackStep):
                self._pack(step)
            else:
                self._launch(step)
        self._fetch(self.program.outputs)
        for number, name in enumerate(self.program.outputs):
            _checked(self.program.tensors[name])
            value = self._values[name]
            size = value.size * value.dtype.itemsize
            self.body.add(f"memcpy(outputs[{number}], {self.body.expression(value)}, {size});")

    def _fetch(self, names: Iterable[str]) -> None:
        """Read tensors that only the accelerator has."""
        for name in names:
            if name in self._packed:
                raise ProgramError(f"tensor {name!r} is packed for the accelerator, and the CPU reads it: not in C")
            if name in self._values:
                continue
            tensor = self.program.tensors[name]
            value = self.body.buffer(tensor.host_dtype, tensor.shape, name)
            self.body.add(
                f"vta_read_tensor(&self->arena, &out_tiling, {self._place(tensor, Memory.OUT)}, {value.text});"
            )
            self._values[name] = value

    def _place(self, tensor: Tensor, memory: Memory) -> str:
        """A pointer to the vta_tensor of a tensor in its place for ``memory``."""
        config = self.program.config
        offset = tensor.inp_offset if memory == Memory.INP else tensor.out_offset
        key = (tensor.name, offset)
        if key not in self._places:
            n, c, h, w = tensor.nchw
            strides = (c * h * w, h * w, w, 1)
            if len(tensor.shape) == 3:
                strides = (c * h, 1, c, 1)
            if tensor.name in self._packed:
                strides = (c * h * w, 1, w * c, c)
            self._places[key] = f"&tensors[{len(self.tensors)}]"
            size = tensor_bytes(config, tensor, memory)
            box = f"{{{n}, {c}, {h}, {w}}}, {{{', '.join(map(str, strides))}}}"
            self.tensors.append(f"{{{c_text.string(tensor.name)}, {offset}, {size}, {box}}}")
        return self._places[key]

    def _pack(self, step: PackStep) -> None:
        self._fetch([step.input])
        source, packed = self.program.tensors[step.input], self.program.tensors[step.output]
        value = self.body.buffer(packed.host_dtype, packed.shape, f"{packed.name}, channels last")
        n, c, h, w = source.shape
        pairs = (step.window, step.strides, step.dilations, step.before)
        fields = [str(size) for size in (n, c, h, w, *packed.shape[2:])]
        fields += [f"{{{first}, {second}}}" for first, second in pairs] + [str(step.value % 256)]
        gathered = f"&(const vta_windows){{{', '.join(fields)}}}"
        self.body.add(c_text.comment(f"windows of {source.name}"))
        source_text = self.body.expression(self._values[step.input])
        self.body.add(f"vta_gather_windows({gathered}, {source_text}, {value.text});")
        self._values[packed.name] = value
        self._packed.add(packed.name)

    def _launch(self, step: Region) -> None:
        config = self.program.config
        self.body.add(c_text.comment(f"on the accelerator: {', '.join(step.layers)}"))
        for name in region_inputs(self.program, step.layers):
            if name in self._resident:
                continue
            if name not in self._packed:
                self._fetch([name])
            place = self._place(self.program.tensors[name], Memory.INP)
            text = self.body.expression(self._values[name])
            self.body.add(f"vta_write_tensor(&self->arena, &inp_tiling, {place}, {text});")
            self._resident.add(name)
        offset = self.program.segment(INSTRUCTIONS).offset + step.first * INSN_BYTES
        self.body.add(f"error = vta_launch(self->device, &self->arena, {offset}, {step.count});")
        self.body.add("self->cycles += self->device->result.cycles;")
        self.body.add("if (error) return error;")
        if config.block_in == config.block_out:
            self._resident |= {self.program.layer(name).output for name in step.layers}


def _checked(tensor: Tensor) -> Tensor:
    """An input or output whose type C has. Raises ProgramError."""
    if tensor.host_dtype.name not in _KINDS:
        raise ProgramError(
            f"tensor {tensor.name!r} is {tensor.dtype}: exported C takes and gives {', '.join(_KINDS)} and narrower "
            "integers; export with --integers all"
        )
    return tensor


def elements(tensor: Tensor) -> int:
    """Elements of a tensor."""
    return math.prod(tensor.shape)


def port_bytes(tensor: Tensor) -> int:
    """Bytes of a tensor in host memory."""
    return elements(tensor) * np.dtype(tensor.host_dtype).itemsize
