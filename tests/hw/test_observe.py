"""The port for timelines: all that a unit shows has its bits, and the accelerator itself does not have the port."""

from __future__ import annotations

import re
from functools import cache

import pytest
from vta_hw.decode import ENGINES, Engine
from vta_hw.observe import OBSERVED_BITS, WORD_BITS, observed_places, traced_verilog
from vta_hw.verilog import generate_verilog
from vta_sim.random_configs import named_configs

CONFIGS = {name: named_configs()[name] for name in ("tiny", "int4", "narrow")}


def declared_ports(text: str) -> str:
    """The declarations of the top module."""
    body = text[text.index("module vta_top(") :]
    return "\n".join(sorted(re.findall(r"^\s*((?:input|output) .*;)", body[: body.index("endmodule")], re.MULTILINE)))


@cache
def traced(name: str) -> str:
    return traced_verilog(CONFIGS[name])


@pytest.mark.parametrize("name", CONFIGS)
def test_values_have_their_own_bits(name: str) -> None:
    places = observed_places(traced(name))
    used = 0
    for offset, width in places.values():
        mask = (1 << width) - 1 << offset
        assert width > 0
        assert not used & mask
        assert offset // WORD_BITS == (offset + width - 1) // WORD_BITS
        used |= mask
    assert used < 1 << OBSERVED_BITS
    for unit in ("load", "compute", "store"):
        assert {f"{unit}.{value}" for value in ("head", "index", "engine", "issue")} <= set(places)
    done = [name.partition(".done_")[2].removeprefix("LOAD ") for name in places if name.startswith("compute.done_")]
    assert done == [Engine(number).name for number in range(ENGINES)]


def test_only_the_simulation_has_the_port() -> None:
    plain = generate_verilog(CONFIGS["tiny"])
    assert "observe" not in plain
    added = set(declared_ports(traced("tiny")).splitlines()) - set(declared_ports(plain).splitlines())
    assert added == {f"output [{OBSERVED_BITS - 1}:0] observed;"}
