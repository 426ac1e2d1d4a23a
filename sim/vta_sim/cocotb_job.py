"""A cocotb run as files in a folder, and the process that builds and runs it.

``python -m vta_sim.cocotb_job build FOLDER`` and ``... test FOLDER BUILD MODULE`` are started by
``vta_sim.cocotb_device`` as processes of their own, since cocotb's runner has no time limits and wants a prepared
environment.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

JOB_FILE = "job.json"
RESULT_FILE = "result.json"
MEMORY_IN = "memory_in.npz"
MEMORY_OUT = "memory_out.npz"
JOB_VARIABLE = "VTA_COCOTB_JOB"
PAGE_BYTES = 4096
TOP = "vta_top"
BUILD_ARGUMENTS = ("-Wno-fatal", "-Wno-lint", "-Wno-style", "--output-split", "0")
TIMESCALE = ("1ns", "1ps")


def pack_pages(path: Path, pages: Mapping[int, NDArray[np.uint8]]) -> None:
    """Write pages (byte address -> uint8 of shape [4096]) to an npz file."""
    addresses = np.array(sorted(pages), dtype=np.uint64)
    data = np.stack([pages[int(address)] for address in addresses]) if pages else np.zeros((0, PAGE_BYTES), np.uint8)
    np.savez(path, addresses=addresses, data=data)


def unpack_pages(path: Path) -> Iterator[tuple[int, bytes]]:
    """The (byte address, contents) of the pages in a file of :func:`pack_pages`."""
    with np.load(path, allow_pickle=False) as archive:
        addresses, data = archive["addresses"], archive["data"]
    for address, page in zip(addresses, data, strict=True):
        yield int(address), page.tobytes()


def build(folder: Path) -> None:
    """Build the simulator of ``folder``/vta_top.v into ``folder``."""
    from cocotb_tools.runner import get_runner

    get_runner("verilator").build(
        sources=[folder / f"{TOP}.v"],
        hdl_toplevel=TOP,
        build_dir=folder,
        build_args=list(BUILD_ARGUMENTS),
        timescale=TIMESCALE,
    )


def test(folder: Path, built: Path, module: str) -> None:
    """Run the job in ``folder`` on the simulator in ``built`` with the benches in ``module``; fails when one fails."""
    from cocotb_tools.check_results import get_results
    from cocotb_tools.runner import get_runner

    results = get_runner("verilator").test(
        hdl_toplevel=TOP,
        hdl_toplevel_lang="verilog",
        test_module=module,
        build_dir=built,
        test_dir=folder,
        results_xml=str(folder / "results.xml"),
        extra_env={JOB_VARIABLE: str(folder), "COCOTB_LOG_LEVEL": "WARNING"},
    )
    tests, failures = get_results(results)
    if failures or not tests:
        raise SystemExit(f"error: {failures} of {tests} cocotb tests failed")


if __name__ == "__main__":
    if sys.argv[1] == "build":
        build(Path(sys.argv[2]))
    else:
        test(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
