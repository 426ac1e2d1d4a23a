"""Where an exported program begins and ends: at the network's own tensors, or at the accelerator's integers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from enum import StrEnum

from vta_arch.errors import ProgramError
from vta_arch.program import CpuStep, Program, Step


class Border(StrEnum):
    """Which ends of a program are its accelerator's integers, without the CPU's steps beyond."""

    NONE = "none"
    """Neither: inputs and outputs are the network's."""
    INPUTS = "inputs"
    OUTPUTS = "outputs"
    ALL = "all"


def cut(program: Program, border: Border) -> Program:
    """``program`` without the CPU steps in front of the accelerator's first, or behind its last, or both.

    Its inputs and outputs are then what those steps made or took. Raises ProgramError where that is no integer tensor
    or nothing is left.
    """
    if border in (Border.INPUTS, Border.ALL):
        program = _without_first(program)
    if border in (Border.OUTPUTS, Border.ALL):
        program = _without_last(program)
    if not any(not isinstance(step, CpuStep) for step in program.steps):
        raise ProgramError("program: nothing of it runs on the accelerator; compile it with --offload all")
    return program


def _without_first(program: Program) -> Program:
    made, kept = set(program.inputs), list[Step]()
    for step in program.steps:
        if isinstance(step, CpuStep) and made.issuperset(step.inputs):
            made.update(step.outputs)
        else:
            kept.append(step)
    own = {name for step in kept for name in _outputs(program, step)}
    wanted = [name for step in kept for name in _inputs(program, step)] + list(program.outputs)
    inputs = dict.fromkeys(name for name in wanted if name not in own)
    return _with(program, kept, inputs, program.outputs, "inputs")


def _without_last(program: Program) -> Program:
    wanted, kept = set[str](), list[Step]()
    for step in reversed(program.steps):
        if not isinstance(step, CpuStep) or wanted.intersection(step.outputs):
            kept.insert(0, step)
            wanted.update(_inputs(program, step))
    there = set(program.inputs) | {name for step in kept for name in _outputs(program, step)}
    dropped = [step for step in program.steps if not any(step is other for other in kept)]
    taken = [name for step in dropped for name in _inputs(program, step)]
    outputs = dict.fromkeys(name for name in (*taken, *program.outputs) if name in there)
    return _with(program, kept, program.inputs, outputs, "outputs")


def _with(program: Program, steps: list[Step], inputs: Iterable[str], outputs: Iterable[str], what: str) -> Program:
    result = replace(program, steps=tuple(steps), inputs=tuple(inputs), outputs=tuple(outputs))
    for name in getattr(result, what):
        if not program.tensors[name].is_integer:
            raise ProgramError(
                f"--integers {what}: tensor {name!r} at the border is {program.tensors[name].dtype}, "
                "not an integer of the accelerator; compile with --offload all or leave the option out"
            )
    return result


def _inputs(program: Program, step: Step) -> tuple[str, ...]:
    return region_inputs(program, step.layers) if hasattr(step, "layers") else step.inputs


def _outputs(program: Program, step: Step) -> tuple[str, ...]:
    return tuple(program.layer(name).output for name in step.layers) if hasattr(step, "layers") else step.outputs


def region_inputs(program: Program, names: Iterable[str]) -> tuple[str, ...]:
    """Tensors that layers read and none of them makes, each once, in the order of their use."""
    layers = [program.layer(name) for name in names]
    made = {layer.output for layer in layers}
    return tuple(dict.fromkeys(name for layer in layers for name in layer.inputs if name not in made))
