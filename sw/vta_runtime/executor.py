"""Run a program: on a device, or on the integer reference; compare the two."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from vta_arch.errors import DataError
from vta_arch.isa import INSN_BYTES, Memory
from vta_arch.layout import rows_of_images
from vta_arch.packing import PackStep
from vta_arch.program import ALONE, INSTRUCTIONS, CpuStep, Layer, Program, tensor_bytes
from vta_arch.registers import BASE_MEMORIES

from .device import Device, check
from .evaluators import Evaluator, make_subgraph
from .packing import pack_windows
from .reference import run_layer
from .spread import spread
from .tensors import pack_tensor, unpack_tensor

Array = NDArray[np.generic]
Values = dict[str, Array]
Progress = Callable[[str, int, int], None]


@dataclass
class RunReport:
    """What a run did. ``cycles`` is None without a clock; ``mismatches`` is None without a check.

    ``cycles_by_layer`` is filled when layers run alone.
    """

    images: int = 0
    cycles: int | None = None
    mismatches: int | None = None
    mismatches_by_layer: dict[str, int] = field(default_factory=dict)
    cycles_by_layer: dict[str, int] = field(default_factory=dict)

    def add_cycles(self, cycles: int | None, layer: str | None = None) -> None:
        """Count the cycles of a launch."""
        if cycles is None:
            return
        self.cycles = (self.cycles or 0) + cycles
        if layer is not None:
            self.cycles_by_layer[layer] = self.cycles_by_layer.get(layer, 0) + cycles

    def add_mismatches(self, layer: str, count: int) -> None:
        """Count elements of a layer that differ from the reference."""
        self.mismatches = (self.mismatches or 0) + count
        self.mismatches_by_layer[layer] = self.mismatches_by_layer.get(layer, 0) + count


class _OnDevice:
    """A program's arena on a device: constants are written once, tensors when they are needed."""

    def __init__(self, program: Program, device: Device) -> None:
        self._program, self._device = program, device
        self._arena = device.allocate(program.arena_size)
        self._window = (self._arena, self._arena + program.arena_size)
        self._bases = dict.fromkeys(BASE_MEMORIES, self._arena)
        for segment in program.segments:
            if segment.data:
                device.write(self._arena + segment.offset, segment.data)

    def write(self, name: str, values: Array) -> None:
        """Write a layer's input."""
        tensor = self._program.tensors[name]
        integers: NDArray[np.integer] = values  # type: ignore[assignment]  # tensors with a place hold integers
        self._device.write(self._arena + tensor.inp_offset, pack_tensor(self._program.config, tensor, integers))

    def read(self, name: str) -> Array:
        """Read a layer's output."""
        tensor = self._program.tensors[name]
        size = tensor_bytes(self._program.config, tensor, Memory.OUT)
        return unpack_tensor(self._program.config, tensor, self._device.read(self._arena + tensor.out_offset, size))

    def launch(self, first: int, count: int, segment: str = INSTRUCTIONS) -> int | None:
        """Run instructions [first, first + count) of the program; its cycles. Raises DeviceError."""
        address = self._arena + self._program.segment(segment).offset + first * INSN_BYTES
        # Nothing outside the program's own memory is ever touched. Bursts are whole words; pages cover them.
        self._device.window = self._window
        result = self._device.launch(address, count, self._bases)
        check(result)
        return result.cycles

    def launch_layer(self, name: str) -> int | None:
        """Run one layer alone; its cycles. Raises DeviceError."""
        layer = self._program.layer(name)
        return self.launch(layer.alone_first, layer.alone_count, ALONE)


class Executor:
    """Runs ``program`` on ``device``, or on the integer reference when there is none.

    ``report`` describes the last run. Raises ProgramError when the device has another configuration.
    """

    def __init__(
        self, program: Program, device: Device | None = None, *, cpu: Evaluator = Evaluator.ONNXRUNTIME
    ) -> None:
        self.program = program
        self.report = RunReport()
        if device is not None:
            program.require(device.config)
        self._device = device
        self._loaded: dict[bool, _OnDevice] = {}
        self._cpu = {
            number: make_subgraph(cpu, step, program.tensors)
            for number, step in enumerate(program.steps)
            if isinstance(step, CpuStep)
        }

    def run(
        self,
        inputs: Mapping[str, Array],
        *,
        check: bool = False,
        layers: Iterable[str] | None = None,
        progress: Progress | None = None,
    ) -> dict[str, Array]:
        """Run any number of images.

        Args:
            inputs: by input name, arrays of shape [images, ...]; any numeric type, cast to what the network takes.
            check: compare every layer's output with the integer reference; results are in ``report``.
            layers: run only these layers, alone, on inputs from the reference (always checked).
            progress: called with a text, the images done and all images.

        Returns the network's outputs by name, images first; with ``layers`` the outputs of these layers by tensor name.
        Raises DataError for wrong inputs, ProgramError for an unknown layer, DeviceError when the device fails.
        """
        arrays, images = check_inputs(self.program, inputs)
        chosen = None if layers is None else [self.program.layer(name) for name in layers]
        self.report = RunReport(images, mismatches=0 if check or chosen is not None else None)
        batch, collected = self.program.batch, []
        for first in range(0, images, batch):
            if progress is not None:
                progress("run", first, images)
            chunk = {name: _padded(array[first : first + batch], batch) for name, array in arrays.items()}
            result = self._chunk(chunk, check) if chosen is None else self._alone(chunk, chosen)
            keep = min(batch, images - first)
            collected.append({name: rows_of_images(value, keep, batch) for name, value in result.items()})
        if progress is not None:
            progress("run", images, images)
        return {name: joined(name, [part[name] for part in collected]) for name in collected[0]}

    # Whole network -------------------------------------------------------------------------
    def _on(self, device: Device, *, keeps_all: bool) -> _OnDevice:
        """The program on ``device``, also in the form in which every tensor can be read after a run."""
        if keeps_all not in self._loaded:
            self._loaded[keeps_all] = _OnDevice(spread(self.program) if keeps_all else self.program, device)
        return self._loaded[keeps_all]

    def _chunk(self, values: Values, compare: bool) -> Values:
        if self._device is None:
            reference = self._reference(values)
            for layer in self.program.layers if compare else ():
                self.report.add_mismatches(layer.name, 0)
            return {name: reference[name] for name in self.program.outputs}
        env = dict(values)
        device = self._on(self._device, keeps_all=compare)
        self._steps(env, device)
        if compare:
            reference = self._reference(values)
            for layer in self.program.layers:
                found = device.read(layer.output)
                self.report.add_mismatches(layer.name, int(np.count_nonzero(found != reference[layer.output])))
        return {name: env[name] for name in self.program.outputs}

    def _steps(self, env: Values, device: _OnDevice) -> None:
        """Run all steps on the device and the CPU; tensors are read back when the CPU or the caller needs them."""
        resident: set[str] = set()
        same = self.program.config.block_in == self.program.config.block_out

        def fetch(names: Iterable[str]) -> None:
            for name in names:
                if name not in env:
                    env[name] = device.read(name)

        for number, step in enumerate(self.program.steps):
            if isinstance(step, CpuStep):
                fetch(step.inputs)
                env.update(self._cpu[number].run(env))
                continue
            if isinstance(step, PackStep):
                fetch([step.input])
                env[step.output] = self._packed(step, env)
                continue
            layers = [self.program.layer(name) for name in step.layers]
            made = {layer.output for layer in layers}
            needed = dict.fromkeys(name for layer in layers for name in layer.inputs)
            for name in needed:
                if name not in resident and name not in made:
                    fetch([name])
                    device.write(name, env[name])
                    resident.add(name)
            self.report.add_cycles(device.launch(step.first, step.count))
            if same:
                resident |= made
        fetch(self.program.outputs)

    def _reference(self, values: Values) -> Values:
        """Every tensor at a step's border and every layer's output, by the integer reference."""
        env = dict(values)
        for number, step in enumerate(self.program.steps):
            if isinstance(step, CpuStep):
                env.update(self._cpu[number].run(env))
                continue
            if isinstance(step, PackStep):
                env[step.output] = self._packed(step, env)
                continue
            for name in step.layers:
                layer = self.program.layer(name)
                env[layer.output] = run_layer(self.program, layer, env)
        return env

    def _packed(self, step: PackStep, env: Values) -> Array:
        return pack_windows(step, env[step.input], self.program.tensors[step.output])

    # Layers alone --------------------------------------------------------------------------
    def _alone(self, values: Values, layers: list[Layer]) -> Values:
        reference = self._reference(values)
        outputs: Values = {}
        for layer in layers:
            found = reference[layer.output]
            if self._device is not None:
                device = self._on(self._device, keeps_all=False)
                for name in dict.fromkeys(layer.inputs):
                    device.write(name, reference[name])
                self.report.add_cycles(device.launch_layer(layer.name), layer.name)
                found = device.read(layer.output)
            self.report.add_mismatches(layer.name, int(np.count_nonzero(found != reference[layer.output])))
            outputs[layer.output] = found
        return outputs


def check_inputs(program: Program, inputs: Mapping[str, Array]) -> tuple[Values, int]:
    """Inputs in the network's types, and the number of images. Raises DataError for what the network cannot take."""
    wanted = program.inputs
    if set(inputs) != set(wanted):
        raise DataError(f"inputs {', '.join(sorted(inputs)) or 'none'} given, the network takes {', '.join(wanted)}")
    arrays: Values = {}
    for name in wanted:
        tensor, value = program.tensors[name], np.asarray(inputs[name])
        if value.dtype.kind not in "biuf":
            raise DataError(f"input {name!r} has the type {value.dtype}: it must be numeric, for {tensor.dtype}")
        if value.ndim != len(tensor.shape) or value.shape[1:] != tensor.shape[1:]:
            shown = ", ".join(["images", *map(str, tensor.shape[1:])])
            raise DataError(f"input {name!r} has the shape {list(value.shape)}, the network takes [{shown}]")
        arrays[name] = value.astype(tensor.host_dtype, copy=False)
    counts = {len(value) for value in arrays.values()}
    if len(counts) != 1 or 0 in counts:
        raise DataError(f"inputs hold {sorted(counts)} images: give the same number, at least 1, for each")
    return arrays, counts.pop()


def _padded(chunk: Array, batch: int) -> Array:
    """The chunk with zero images up to ``batch``."""
    if len(chunk) == batch:
        return chunk
    return np.concatenate([chunk, np.zeros((batch - len(chunk), *chunk.shape[1:]), chunk.dtype)])


def joined(name: str, parts: list[Array]) -> Array:
    """An output of several batches as one array. Raises DataError for a single number, of which each has its own."""
    if parts[0].ndim:
        return np.concatenate(parts)
    if len(parts) > 1:
        raise DataError(f"output {name!r} is one number a batch, of which there are {len(parts)}: run one at a time")
    return parts[0]
