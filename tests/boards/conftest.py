"""Recorded output of Yosys, shortened; and the helper modules of tests/boards and tests/sw made importable."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1] / "sw")]

STAT = {
    "creator": "Yosys 0.70",
    "modules": {
        "\\vta_top": {"num_cells": 3, "num_cells_by_type": {"INV": 1, "vta_top.core": 1, "vta_top.registers": 1}},
        "\\vta_top.core": {"num_cells": 4, "num_cells_by_type": {"FDRE": 23, "LUT2": 9, "vta_top.core.compute": 1}},
        "\\vta_top.core.compute": {"num_cells": 1, "num_cells_by_type": {"LUT6": 7}},
        "\\vta_top.core.compute.alu": {
            "num_cells": 9,
            "num_cells_by_type": {"CARRY4": 5, "DSP48E1": 1, "FDRE": 100, "FDSE": 2, "LUT3": 40, "MUXF7": 2},
        },
        "\\vta_top.core.compute.alu.mul0": {"num_cells": 1, "num_cells_by_type": {"DSP48E1": 1, "SRL16E": 3}},
        "\\vta_top.core.compute_queue": {
            "num_cells": 3,
            "num_cells_by_type": {"RAMB36E1": 2, "RAMB18E1": 1, "RAM32M": 2},
        },
        "\\vta_top.registers": {"num_cells": 2, "num_cells_by_type": {"FDRE": 10, "LUT5": 20}},
    },
}

STA = """
4. Executing STA pass (static timing analysis).
Latest arrival time in 'vta_top' is 5064:
    5064 (<unknown>)
Warning: Critical-path does not terminate in a recognised endpoint.
           $abc$768111$aiger$i68594
    5064 core.compute.alu.claim[0]_reg (FDRE.D)
           $auto$xilinx_dffopt.cc:347:execute$717627
    5064 $auto$xilinx_dffopt.cc:341:execute$717626 (LUT6.I1->O)
           \\core.compute.alu.less [1]
    2550 core.compute_queue.storage.0.1 (RAMB36E1.CLKBWRCLK->DOBDO)
           \\core.clk
       0   \\aclk (<primary input>)
Warning: Endpoint vta_top.\\m_axi_gmem_bready has no (* sta_arrival *) value.

Arrival histogram:
 legend: * represents 59 endpoint(s)
(  5100,   2964] |*********+
Latest arrival time in 'vta_top.core.compute.alu' is 2431:
    2431 done_reg (FDRE.D)
           $abc$1
    2431 $abc$2 (LUT3.I1->O)
           \\x [1]
     303 x_reg (FDRE.C->Q)
           \\clk
       0   \\clk (<primary input>)
"""


@pytest.fixture
def stat() -> str:
    """Report of ``stat -json``."""
    return json.dumps(STAT, indent=3)


@pytest.fixture
def sta() -> str:
    """Report of ``sta`` over two modules."""
    return STA
