"""Narrowing clock edges: what has the form of a held register is narrowed, and nothing else."""

from __future__ import annotations

import re

import pytest
from vta_arch.presets import load_config
from vta_hw.held import CLOCK_ENABLE
from vta_sim.build_cache import cached_verilog
from vta_sim.clock_gates import gated

HELD = """\
module \\unit.held (clock_enable, rst, clear, d, clk, \\q$1 );
  always @(posedge clk)
    \\q$1  <= \\$2 ;
  always @* begin
    if (\\$auto$1 ) begin end
    \\$2  = \\q$1 ;
    if (clock_enable) begin
      if (d) begin
        \\$2  = d;
      end
    end
%s  end
endmodule
"""
RESET = """\
    if (clear) begin
      \\$2  = 2'h0;
    end
"""
ELSE = """\
    else begin
      \\$2  = 2'h1;
    end
"""
CASE = """\
    casez (d)
      1'h0:
          \\$2  = 2'h1;
    endcase
"""


def test_edge_only_when_enabled() -> None:
    text = gated(HELD % "")
    assert "always @(posedge clk iff (clock_enable))\n    \\q$1  <=" in text
    assert "    begin\n      if (d) begin" in text


def test_resets_are_taken_too() -> None:
    assert "@(posedge clk iff (clock_enable || clear || rst))" in gated(HELD % (RESET + RESET.replace("clear", "rst")))


@pytest.mark.parametrize(
    "text",
    [
        HELD % ELSE,
        HELD % CASE,
        HELD % "    \\$2  = d;\n",
        (HELD % "").replace("= \\q$1 ;", "= d;"),
        (HELD % "").replace("if (clock_enable)", "if (enable)"),
        (HELD % "").replace("    if (clock_enable)", "    if (d) begin\n    end\n    if (clock_enable)"),
    ],
    ids=["else", "case", "assigned afterwards", "does not hold", "another enable", "another condition first"],
)
def test_other_forms_stay(text: str) -> None:
    assert gated(text) == text


@pytest.mark.parametrize("name", ["tiny", "mlperf-tiny", "int4"])
def test_every_held_register_is_narrowed(name: str) -> None:
    text = cached_verilog(load_config(name), None)
    enables = text.count(f"    if ({CLOCK_ENABLE}) begin\n")
    after = gated(text)
    assert enables > 20
    assert len(re.findall(r"posedge clk iff \(clock_enable", after)) == enables
    assert f"if ({CLOCK_ENABLE})" not in after
