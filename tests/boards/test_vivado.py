"""The Vivado flow, run in a Tcl interpreter over recorded stand-ins for Vivado's commands."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest
from vivado_standin import commands, has_tcl, install
from vta_arch.config import VTAConfig
from vta_arch.errors import BoardError
from vta_arch.presets import load_preset
from vta_boards.board import BOARDS, Board, find_board
from vta_boards.build import Build, finish, write_folder
from vta_boards.vivado import VIVADO
from vta_boards.wrapper import generate_wrapper
from vta_hw.top import top_ports

pytestmark = pytest.mark.skipif(not has_tcl(), reason="no Tcl interpreter: neither tclsh nor Python's tkinter")
CASES = [*((key, board.preset) for key, board in BOARDS.items()), ("pynq-z1", "tiny"), ("kv260", "int4")]


class Recorded:
    """A finished build and what it told the stand-in."""

    def __init__(self, folder: Path, told: list[str]) -> None:
        self.folder, self.told = folder, told
        self.commands = commands(folder)

    def of(self, name: str) -> list[list[str]]:
        return [arguments for command, *arguments in self.commands if command == name]

    def properties(self, owner: str) -> dict[str, str]:
        return {name: value for who, name, value in self.of("set_property") if who == owner}


@pytest.fixture(autouse=True)
def vivado(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(install(tmp_path / "bin")), prepend=os.pathsep)


def prepared(folder: Path, key: str, preset: str) -> Build:
    """A build folder whose accelerator is a line: the stand-in reads the wrapper only."""
    plan = Build(find_board(key), load_preset(preset), "vivado")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vta_boards.vivado.generate_verilog", lambda cfg: f"// {cfg.name}\n")
        write_folder(folder, plan)
    return plan


def built(folder: Path, key: str, preset: str) -> tuple[Recorded, Board, VTAConfig]:
    plan = prepared(folder, key, preset)
    told = VIVADO.run(folder, 60, lambda _step, _done, _all: None)
    finish(folder, plan)
    return Recorded(folder, told), plan.board, plan.cfg


@pytest.mark.parametrize(("key", "preset"), CASES)
def test_every_connection(tmp_path: Path, key: str, preset: str) -> None:
    build, board, cfg = built(tmp_path / "build", key, preset)
    ps = board.system
    assert dict(build.of("create_bd_cell")) == {
        "ps": {"zynq7": "xilinx.com:ip:processing_system7:5.5", "zynqmp": "xilinx.com:ip:zynq_ultra_ps_e:3.5"}[
            ps.family
        ],
        "vta": "module:vta_accelerator",
        "registers": "xilinx.com:ip:smartconnect:1.10",
        "memory": "xilinx.com:ip:smartconnect:1.10",
        "reset": "xilinx.com:ip:proc_sys_reset:5.0",
    }
    assert build.of("connect_bd_intf_net") == [
        [f"ps/{ps.control_port}", "registers/S00_AXI"],
        ["registers/M00_AXI", "vta/s_axi_control"],
        ["vta/m_axi_gmem", "memory/S00_AXI"],
        ["memory/M00_AXI", f"ps/{ps.memory_port}"],
    ]
    nets = {source: set(sinks.split()) for source, sinks in build.of("connect_bd_net")}
    clocked = {"vta/aclk", "registers/aclk", "memory/aclk", "reset/slowest_sync_clk"}
    assert nets == {
        f"ps/{ps.clock}": clocked | {f"ps/{ps.control_clock}", f"ps/{ps.memory_clock}"},
        f"ps/{ps.reset}": {"reset/ext_reset_in"},
        "reset/peripheral_aresetn": {"vta/aresetn"},
        "reset/interconnect_aresetn": {"registers/aresetn", "memory/aresetn"},
        "vta/interrupt": {f"ps/{ps.interrupt}"},
    }
    order = [name for name, *_ in build.commands]
    assert order.index("assign_bd_address") < order.index("validate_bd_design") < order.index("save_bd_design")
    assert cfg.axi_data_width in ps.memory_widths


@pytest.mark.parametrize(("key", "preset"), CASES)
def test_clock_widths_and_addresses(tmp_path: Path, key: str, preset: str) -> None:
    build, board, cfg = built(tmp_path / "build", key, preset)
    properties, clock, width = build.properties("ps"), f"{cfg.clock_mhz:g}", str(cfg.axi_data_width)
    if board.system.family == "zynq7":
        assert properties["CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ"] == clock
        assert properties["CONFIG.PCW_S_AXI_HP0_DATA_WIDTH"] == width
        assert properties["CONFIG.PCW_USE_M_AXI_GP0"] == properties["CONFIG.PCW_USE_S_AXI_HP0"] == "1"
        assert properties["CONFIG.PCW_USE_FABRIC_INTERRUPT"] == properties["CONFIG.PCW_IRQ_F2P_INTR"] == "1"
    else:
        assert properties["CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ"] == clock
        assert properties["CONFIG.PSU__SAXIGP2__DATA_WIDTH"] == width
        assert properties["CONFIG.PSU__USE__M_AXI_GP0"] == properties["CONFIG.PSU__USE__S_AXI_GP2"] == "1"
        assert properties["CONFIG.PSU__USE__IRQ0"] == "1"
    first, *memory = build.of("assign_bd_address")
    assert first == [
        *("-offset", f"{board.system.control_base:#010x}", "-range", "64K"),
        *("-target_address_space", "space:ps/Data", "segment:vta/s_axi_control/reg0"),
    ]
    high = board.memory_mib > 2048 and cfg.axi_addr_width > 32
    segments = board.system.memory_segments[: 2 if high else 1]
    assert memory == [["-target_address_space", "space:vta/m_axi_gmem", f"segment:ps/{name}"] for name in segments]


def test_newest_board_files_and_products(tmp_path: Path) -> None:
    build, _board, _cfg = built(tmp_path / "build", "kv260", "kv260")
    project = build.properties("project")
    assert project["board_part"] == "xilinx.com:kv260_som:part0:1.10"
    assert project["board_connections"] == "som240_1_connector xilinx.com:kv260_carrier:som240_1_connector:1.10"
    assert build.of("create_project") == [["-force", "vta_system", "project", "-part", "xck26-sfvc784-2LV-c"]]
    stem = "vta_kv260"
    assert build.told[-1] == f"done: {stem}.bit {stem}.hwh {stem}.bin {stem}.xsa"
    assert (build.folder / f"{stem}.bit").read_text() == "bits\n"
    assert build.of("write_hw_platform") == [["-fixed", "-include_bit", "-force", "-file", f"{stem}.xsa"]]
    runs = [arguments[0] for arguments in build.of("launch_runs")]
    assert runs == ["synth_1", "impl_1", "impl_1"]
    assert {arguments[2] for arguments in build.of("launch_runs")} == {str(len(os.sched_getaffinity(0)))}
    assert [line for line in build.told if "slack" in line] == ["setup slack 0.214 ns", "hold slack 0.031 ns"]


def test_without_board_files_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STANDIN_NO_BOARD", "1")
    build, board, _cfg = built(tmp_path / "build", "pynq-z2", "pynq-z2")
    assert board.board_files in next(line for line in build.told if line.startswith("warning: "))
    (automation,) = build.of("apply_bd_automation")
    assert "apply_board_preset 0" in automation[-2]


def test_negative_slack_names_the_path_and_makes_no_bitstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STANDIN_SLACK", "-0.5")
    folder = tmp_path / "build"
    plan = prepared(folder, "pynq-z1", "tiny")
    for name in plan.products:
        (folder / name).write_text("an earlier run's\n")
    message = (
        "setup slack -0.5 ns from vta/inner/core/compute/gemm/acc_reg/C to .*/alu/sum_reg/D; choose a lower --clock"
    )
    with pytest.raises(BoardError, match=message):
        VIVADO.run(folder, 60, lambda *_: None)
    assert not any((folder / name).exists() for name in plan.products)
    assert [arguments for name, *arguments in commands(folder) if name == "exit"] == [["1"]]


@pytest.mark.parametrize("run", ["synth_1", "impl_1"])
def test_a_failed_run_names_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: str) -> None:
    monkeypatch.setenv("STANDIN_FAIL", run)
    folder = tmp_path / "build"
    prepared(folder, "ultra96-v2", "ultra96")
    with pytest.raises(BoardError, match=rf"{run} failed: .*see project/vta_system.runs/{run}/runme.log"):
        VIVADO.run(folder, 60, lambda *_: None)


def test_a_script_error_and_a_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "build"
    prepared(folder, "pynq-z1", "tiny")
    monkeypatch.setenv("STANDIN_HANG", "1")
    begun = time.monotonic()
    with pytest.raises(BoardError, match="vivado: not done after 3 s"):
        VIVADO.run(folder, 3, lambda *_: None)
    assert time.monotonic() - begun < 30
    monkeypatch.delenv("STANDIN_HANG")
    settings = folder / "settings.tcl"
    settings.write_text(settings.read_text().replace("{S_AXI_HP0}", "{S_AXI_HP9}"))
    with pytest.raises(BoardError, match="status 1 in block design: ERROR: cell ps has no pin S_AXI_HP9"):
        VIVADO.run(folder, 60, lambda *_: None)


def test_steps_are_shown(tmp_path: Path) -> None:
    folder, seen = tmp_path / "build", []
    prepared(folder, "pynq-z1", "tiny")
    VIVADO.run(folder, 60, lambda step, done, everything: seen.append((step, done, everything)))
    assert [done for _step, done, _all in seen] == list(range(7))
    assert {everything for *_, everything in seen} == {7}


@pytest.mark.parametrize("preset", ["tiny", "pynq-z1", "kv260"])
def test_every_port_of_the_wrapper_has_a_meaning(preset: str) -> None:
    cfg = load_preset(preset)
    text = generate_wrapper(cfg)
    ports = {name: width for width, name in re.findall(r"(?:input |output) wire (\[\d+:0\] )?(\w+)", text)}
    assert set(ports) == set(top_ports(cfg))
    assert text.count("X_INTERFACE_INFO") == len(ports)
    assert ports["m_axi_gmem_rdata"] == f"[{cfg.axi_data_width - 1}:0] "
    assert ports["m_axi_gmem_araddr"] == f"[{cfg.axi_addr_width - 1}:0] "
    assert 'ASSOCIATED_BUSIF s_axi_control:m_axi_gmem, ASSOCIATED_RESET aresetn, FREQ_TOLERANCE_HZ -1"' in text
    assert "FREQ_HZ 1" not in text
    for name in ports:
        assert f".{name}({name})" in text
