"""Running Yosys and reading its reports."""

from __future__ import annotations

from pathlib import Path

import pytest
from vta_boards.yosys import SynthesisError, parse_logic_cells, parse_sta, parse_stat, read_report, run_yosys

SECONDS = 600
"""The first run of Yosys on a machine compiles Yosys itself."""
pytestmark = pytest.mark.timeout(2 * SECONDS)


def test_statistics(stat: str) -> None:
    modules = parse_stat(stat)
    assert modules["vta_top.core.compute_queue"] == {"RAMB36E1": 2, "RAMB18E1": 1, "RAM32M": 2}
    assert next(iter(modules)) == "vta_top"


@pytest.mark.parametrize("text", ["", "{", "no json", "[]", '{"modules": 1}', '{"modules": {"\\\\a": {}}}'])
def test_statistics_that_are_none(text: str) -> None:
    with pytest.raises(SynthesisError, match="no statistics"):
        parse_stat(text)


def test_longest_paths(sta: str) -> None:
    paths = parse_sta(sta)
    assert set(paths) == {"vta_top", "vta_top.core.compute.alu"}
    assert paths["vta_top"].ns == 5.064
    assert paths["vta_top"].start == "core.compute_queue.storage.0.1"
    assert paths["vta_top"].end == "core.compute.alu.claim[0]_reg"
    assert (paths["vta_top.core.compute.alu"].start, paths["vta_top.core.compute.alu"].end) == ("x_reg", "done_reg")


def test_a_path_of_cells_without_names_is_told_by_its_wires(sta: str) -> None:
    text = sta
    for name in ("core.compute_queue.storage.0.1", "core.compute.alu.claim[0]_reg"):
        text = text.replace(f"{name} (", "$abc$1 (")
    path = parse_sta(text)["vta_top"]
    assert (path.start, path.end) == ("core.compute.alu.less", "core.compute.alu.less")


def test_no_path_at_all() -> None:
    assert parse_sta("4. Executing STA pass.\n") == {}


def test_a_script_that_prints_nothing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "whole.stat").write_text("\n")
    for name in ("whole.stat", "whole.sta"):
        with pytest.raises(SynthesisError, match=f"status 0 but printed no {name} for whole"):
            read_report(tmp_path / name, "whole")


def test_logic_cells_where_the_family_has_an_estimate() -> None:
    text = '{"modules": {"\\\\top": {"estimated_num_lc": 17}, "\\\\other": {}}}'
    assert parse_logic_cells(text, "top") == 17
    assert parse_logic_cells(text, "other") is None
    with pytest.raises(SynthesisError, match="no statistics"):
        parse_logic_cells(text, "missing")


def test_yosys_writes_its_reports(tmp_path: Path) -> None:
    (tmp_path / "top.v").write_text(
        "module top(input clk, input d, output reg q); always @(posedge clk) q <= ~d; endmodule\n"
    )
    script = "read_verilog top.v\nsynth -top top\ntee -q -o top.stat stat -json\n"
    run_yosys(script, tmp_path, what="top", timeout=SECONDS)
    cells = parse_stat(read_report(tmp_path / "top.stat", "top"))["top"]
    assert sum(cells.values()) == 2


def test_a_script_that_fails_names_yosys_reason(tmp_path: Path) -> None:
    with pytest.raises(SynthesisError, match=r"ended with status 1 for whole: ERROR: .*missing\.v") as caught:
        run_yosys("read_verilog missing.v\n", tmp_path, what="whole", timeout=SECONDS)
    assert "\n" not in str(caught.value)


def test_yosys_is_stopped_in_time(tmp_path: Path) -> None:
    with pytest.raises(SynthesisError, match=r"took more than 0\.01 s for whole and was stopped"):
        run_yosys("help\n", tmp_path, what="whole", timeout=0.01)
