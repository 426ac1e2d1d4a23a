"""Area and timing: counting cells, units, the JSON, and a synthesis with Yosys stubbed out."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import vta_boards.synth
from vta_arch.presets import load_preset, preset_names
from vta_boards.board import BOARDS
from vta_boards.parts import DEFAULT_PART, XC7Z020
from vta_boards.synth import (
    FAMILIES,
    Synthesis,
    Usage,
    part_of,
    synthesize,
    unit_of,
    unit_of_signal,
    units_of,
    usage_of,
)
from vta_boards.yosys import SynthesisError, parse_sta, parse_stat

KEYS = ["lut", "ff", "dsp", "bram36", "sta_ns"]


def test_every_kind_of_cell_is_counted() -> None:
    cells = {
        "LUT1": 1,
        "LUT6": 2,
        "INV": 3,
        "SRL16E": 4,
        "SRLC32E": 5,
        "RAM32M": 2,
        "RAM64X1D": 1,
        "FDRE": 7,
        "FDSE": 8,
    }
    assert usage_of(cells, None) == Usage(lut=15 + 8 + 2, ff=15, dsp=0, bram36=0, sta_ns=None)
    blocks = {"DSP48E1": 3, "DSP48E2": 1, "RAMB36E1": 2, "RAMB18E2": 1, "CARRY4": 9, "MUXF7": 1, "BUFG": 1, "other": 1}
    assert usage_of(blocks, None) == Usage(lut=0, ff=0, dsp=4, bram36=2.5, sta_ns=None)


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("", "top"),
        ("registers", "registers"),
        ("core", "core"),
        ("core.fetch.buffer", "fetch"),
        ("core.compute", "compute"),
        ("core.compute.alu.mul3", "compute.alu"),
        ("core.load.inp_loader.bursts", "load.inp_loader"),
        ("core.load_to_compute", "load_to_compute"),
    ],
)
def test_units_by_path(path: str, unit: str) -> None:
    assert unit_of(path) == unit


@pytest.mark.parametrize(
    ("signal", "unit"),
    [
        ("core.compute.alu.claim[0]", "compute.alu"),
        ("core.compute.insn", "compute"),
        ("core.compute_queue.storage.0.1", "compute_queue"),
        ("core.running", "core"),
        ("registers.base", "registers"),
        ("interrupt", "top"),
    ],
)
def test_unit_of_a_signal(signal: str, unit: str) -> None:
    assert unit_of_signal(signal, ["top", "core", "compute", "compute.alu", "compute_queue", "registers"]) == unit


def test_units_add_up(stat: str, sta: str) -> None:
    units = units_of(parse_stat(stat), parse_sta(sta))
    assert list(units) == ["compute", "compute.alu", "compute_queue", "core", "registers", "top"]
    assert units["compute.alu"] == Usage(lut=43, ff=102, dsp=2, bram36=0, sta_ns=2.431)
    assert units["compute_queue"] == Usage(lut=8, ff=0, dsp=0, bram36=2.5, sta_ns=None)


def test_every_board_of_a_preset_has_a_part() -> None:
    boards = {load_preset(name).board for name in preset_names()} - {""}
    assert boards <= {board.name for board in BOARDS.values()}
    assert {board.part.family for board in BOARDS.values()} == set(FAMILIES)
    assert part_of(load_preset("tiny")) is DEFAULT_PART
    assert part_of(load_preset("kv260")).name == "xck26"


def test_whether_it_fits() -> None:
    full = Usage(XC7Z020.lut, XC7Z020.ff, XC7Z020.dsp, XC7Z020.bram36, 3.0)
    assert Synthesis("xc7", full, {}, None).fits(XC7Z020)
    assert not Synthesis("xc7", full + Usage(0, 0, 0, 0.5, None), {}, None).fits(XC7Z020)


def test_unknown_family() -> None:
    with pytest.raises(SynthesisError, match="family 'ice40' is unknown; known families: xc7, xcup"):
        synthesize(load_preset("tiny"), "ice40")


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch, stat: str, sta: str) -> list[str]:
    """Yosys that answers every script with the recorded reports; gives the scripts."""
    scripts: list[str] = []

    def run(script: str, folder: Path, *, what: str, timeout: float) -> None:
        assert timeout > 0
        scripts.append(script)
        assert (folder / "vta_top.v").read_text() == "// tiny\n"
        (folder / f"{what}.stat").write_text(stat)
        (folder / f"{what}.sta").write_text(sta)

    monkeypatch.setattr(vta_boards.synth, "run_yosys", run)
    monkeypatch.setattr(vta_boards.synth, "generate_verilog", lambda cfg: f"// {cfg.name}\n")
    return scripts


def test_synthesis_and_its_json(recorded: list[str], tmp_path: Path) -> None:
    stages: list[tuple[str, int, int]] = []
    cfg = load_preset("tiny")
    result = synthesize(cfg, cache=tmp_path / "cache", progress=lambda *stage: stages.append(stage))
    assert sorted(re.findall(r"synth_xilinx .*", script)[0].count("-flatten") for script in recorded) == [0, 1]
    assert stages[-1] == ("Yosys", 2, 2)
    assert result.total == Usage(lut=1, ff=0, dsp=0, bram36=0, sta_ns=5.064)
    values = json.loads(json.dumps(result.to_dict()))
    assert list(values) == ["total", "units"]
    assert list(values["total"]) == KEYS
    assert all(list(unit) == KEYS for unit in values["units"].values())

    assert synthesize(cfg, cache=tmp_path / "cache") == result, "kept, and read back as it was"
    assert len(recorded) == 2
    synthesize(cfg, "xcup", cache=tmp_path / "cache")
    assert len(recorded) == 4
    assert "-family xcup" in recorded[-1]


def test_yosys_that_ends_without_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vta_boards.synth, "generate_verilog", lambda _cfg: SMALL)
    monkeypatch.setattr(vta_boards.synth, "run_yosys", lambda *_a, **_k: None)
    with pytest.raises(SynthesisError, match=r"printed no whole\.stat for whole"):
        synthesize(load_preset("tiny"))


SMALL = r"""
module vta_top(input aclk, input [7:0] a, b, input [9:0] x, output [15:0] q);
  wire [15:0] p;
  \vta_top.core core(.clk(aclk), .a(a), .b(b), .p(p));
  \vta_top.memory memory(.clk(aclk), .x(x), .p(p), .q(q));
endmodule
module \vta_top.core (input clk, input [7:0] a, b, output reg [15:0] p);
  reg [7:0] r, s;
  always @(posedge clk) begin r <= a; s <= b; p <= p + $signed(r) * $signed(s); end
endmodule
module \vta_top.memory (input clk, input [9:0] x, input [15:0] p, output reg [15:0] q);
  reg [15:0] words [0:1023];
  always @(posedge clk) begin words[x] <= p; q <= words[x]; end
endmodule
"""


@pytest.mark.timeout(1200)
def test_yosys_itself_on_a_small_design(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vta_boards.synth, "generate_verilog", lambda _cfg: SMALL)
    result = synthesize(load_preset("tiny"), "xc7", timeout=600)
    assert (result.total.dsp, result.total.bram36) == (1, 0.5)
    assert list(result.units) == ["core", "memory", "top"]
    assert (result.units["core"].dsp, result.units["memory"].bram36) == (1, 0.5)
    assert result.path is not None
    assert result.total.sta_ns == result.path.ns
    assert 1 < result.path.ns < 6
