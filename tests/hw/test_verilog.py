"""The generated Verilog: deterministic, one top, the ports that block designs infer interfaces from."""

from __future__ import annotations

import re

import pytest
from vta_arch.presets import load_preset
from vta_arch.registers import CONTROL_ADDRESS_BITS
from vta_hw.verilog import TOP_NAME, generate_verilog
from vta_sim.random_configs import named_configs

CONFIGS = {
    "tiny": load_preset("tiny"),
    "int1": named_configs()["int1"],
    "wide-address": named_configs()["wide-address"],
}

ADDRESS_NAMES = ["id", "addr", "len", "size", "burst", "lock", "cache", "prot", "qos", "valid", "ready"]
AXI4_NAMES = [f"{channel}{name}" for channel in ("aw", "ar") for name in ADDRESS_NAMES]
AXI4_NAMES += ["wdata", "wstrb", "wlast", "wvalid", "wready", "bid", "bresp", "bvalid", "bready"]
AXI4_NAMES += ["rid", "rdata", "rresp", "rlast", "rvalid", "rready"]


def top_ports(text: str) -> dict[str, tuple[str, int]]:
    """Direction and width of each port of the top module."""
    body = text[text.index(f"module {TOP_NAME}(") :]
    body = body[: body.index("endmodule")]
    found = re.findall(r"^\s*(input|output) (?:\[(\d+):0\] )?(\w+);", body, re.MULTILINE)
    return {name: (direction, int(high or 0) + 1) for direction, high, name in found}


@pytest.mark.parametrize("name", CONFIGS)
def test_ports(name: str) -> None:
    cfg = CONFIGS[name]
    ports = top_ports(generate_verilog(cfg))
    assert ports["aclk"] == ports["aresetn"] == ("input", 1)
    assert ports["interrupt"] == ("output", 1)
    assert ports["s_axi_control_awaddr"] == ("input", CONTROL_ADDRESS_BITS)
    assert ports["s_axi_control_rdata"] == ("output", 32)
    assert ports["m_axi_gmem_araddr"] == ports["m_axi_gmem_awaddr"] == ("output", cfg.axi_addr_width)
    assert ports["m_axi_gmem_rdata"] == ("input", cfg.axi_data_width)
    assert ports["m_axi_gmem_wstrb"] == ("output", cfg.axi_data_width // 8)
    others = {port for port in ports if not port.startswith(("s_axi_control_", "m_axi_gmem_"))}
    assert others == {"aclk", "aresetn", "interrupt"}
    assert {port for port in ports if port.startswith("m_axi_gmem_")} == {f"m_axi_gmem_{name}" for name in AXI4_NAMES}


def test_deterministic_and_one_top() -> None:
    first, second = (generate_verilog(CONFIGS["tiny"]) for _ in range(2))
    assert first == second
    assert first.count(f"module {TOP_NAME}(") == 1
    assert "(* src" not in first
