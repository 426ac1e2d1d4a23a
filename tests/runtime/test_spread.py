"""A program whose tensors share no memory computes the same."""

from __future__ import annotations

import dataclasses
from itertools import combinations

import numpy as np
import pytest
from qdq_models import residual_network
from vta_arch.errors import ProgramError
from vta_arch.isa import Memory
from vta_arch.presets import load_preset
from vta_arch.program import Program, tensor_bytes
from vta_runtime.executor import Executor
from vta_runtime.spread import spread
from vta_sim.functional import FunctionalDevice
from vta_sw.compiler import compile


def program_for(name: str) -> Program:
    return compile(residual_network(load_preset(name), 5), load_preset(name))


@pytest.mark.parametrize("name", ["tiny", "pynq-z1", "int4", "classic"])
def test_the_same_outputs_and_no_shared_memory(name: str) -> None:
    program = program_for(name)
    apart = spread(program)
    places = [
        (item.inp_offset, item.inp_offset + tensor_bytes(program.config, item, Memory.INP))
        for item in apart.tensors.values()
        if item.inp_offset >= 0
    ]
    assert all(one[1] <= other[0] or other[1] <= one[0] for one, other in combinations(places, 2))
    x = {"x": np.random.default_rng(1).normal(0, 4, (2, 3, 9, 9))}
    outputs = [Executor(item, FunctionalDevice(program.config)).run(x) for item in (program, apart)]
    assert all(np.array_equal(value, outputs[1][key]) for key, value in outputs[0].items())


def test_a_transfer_outside_of_its_tensors_is_refused() -> None:
    program = program_for("tiny")
    layer = program.layers[0]
    wrong = dataclasses.replace(layer, inputs=(layer.output,))
    with pytest.raises(ProgramError, match="in none of its tensors"):
        spread(dataclasses.replace(program, layers=(wrong, *program.layers[1:])))
