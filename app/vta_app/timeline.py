"""The timeline of a program's run: which layer each instruction belongs to, and the file."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from vta_arch.errors import DeviceError
from vta_arch.files import atomic_output
from vta_arch.isa import INSN_BYTES
from vta_arch.program import Program, Region
from vta_runtime.spread import spread
from vta_sim.trace_timeline import LayerPart, TimelineWriter


def layers_of(program: Program) -> Callable[[bytes], Sequence[LayerPart]]:
    """Finds the layers of a stream of instructions, which is how a launch is recognised: a step, or a layer alone."""
    known: dict[bytes, list[LayerPart]] = {}
    for form in (program, spread(program)):
        for layer in form.layers:
            known[form.layer_stream(layer.name)] = [LayerPart(layer.name, 0, layer.alone_count - 1, layer.macs)]
        for step in form.steps:
            if isinstance(step, Region):
                stream = form.instruction_bytes[step.first * INSN_BYTES : (step.first + step.count) * INSN_BYTES]
                layers = [form.layer(name) for name in step.layers]
                known[stream] = [LayerPart(it.name, it.first - step.first, it.count, it.macs) for it in layers]
    return lambda stream: known.get(stream, ())


@contextlib.contextmanager
def timeline(program: Program, path: str | Path) -> Iterator[TimelineWriter]:
    """A timeline that takes launches and is written to ``path`` at the end of the block, whole or not at all.

    A run that the accelerator itself ended with an error is written too, since it shows where. Raises DataError when
    the file cannot be written.
    """
    failure: DeviceError | None = None
    with atomic_output(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        writer = TimelineWriter(file, program.config, layers_of(program))
        try:
            yield writer
        except DeviceError as error:
            if not writer.summary.launches:
                raise
            failure = error
        writer.close()
    if failure is not None:
        raise failure
