"""The exported C on the RTL: the same bytes as a run of the program, and a driver that survives what goes wrong."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import c_programs
import numpy as np
import onnx
import pytest
import vta_app
from app_networks import images, network
from vta_arch.errors import DataError, ProgramError
from vta_arch.packing import PackStep
from vta_arch.program import Program
from vta_boards.bare_metal.border import Border, cut
from vta_boards.bare_metal.export import export_c
from vta_runtime.executor import Executor
from vta_sim.functional import FunctionalDevice
from vta_sim.memory_model import MemoryModel
from vta_sim.random_configs import named_configs
from vta_sw.models import NetworkBuilder
from vta_sw.quantize import QConfig

pytestmark = pytest.mark.skipif(not (shutil.which("make") and shutil.which("cc")), reason="no C compiler or make")

_PROGRAMS: dict[str, Program] = {}
BASE = ("w4a8",)
"""Configurations that leave average pools to the CPU, which C cannot: they get a network without."""


def program(name: str) -> Program:
    """A small network for a preset, or for a named configuration of the simulators' tests; all of it on the array."""
    if name not in _PROGRAMS:
        cfg = named_configs()[name] if name in named_configs() else vta_app.load_config(name)
        model = body() if name in BASE else network()
        quantized = vta_app.quantize(model, cfg, images(), config=QConfig(edge_bits=None))
        _PROGRAMS[name] = vta_app.compile(quantized, cfg)
    return _PROGRAMS[name]


def body() -> onnx.ModelProto:
    """The network up to its residual add."""
    model = network()
    del model.graph.node[3:]
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("s", onnx.TensorProto.FLOAT, ("N", 4, 6, 6)))
    return model


def check_runs(loaded: Program, x: np.ndarray, folder: Path, backends: tuple[str, ...]) -> None:
    """The exported example prints the bytes that ``vta run`` gives."""
    exported = export_c(loaded, folder, samples={loaded.inputs[0]: x})
    assert set(exported.files) == {path.name for path in folder.iterdir()}
    done = c_programs.run(c_programs.make(folder), loaded.config)
    assert (done.returncode, done.stderr) == (0, "")
    for name in exported.outputs:
        tensor = loaded.tensors[name]
        found = c_programs.printed(done.stdout, name, tensor.host_dtype)
        for backend in backends:
            expected = vta_app.run(loaded, x, backend=backend).outputs[name]
            assert found.tobytes() == np.asarray(expected).astype(tensor.host_dtype).tobytes()


@pytest.mark.parametrize("name", ["tiny", "x-int4", "pynq-z1", "x-batch2", "w4a8"])
def test_same_bytes_as_a_run(name: str, tmp_path: Path) -> None:
    check_runs(program(name), images(3), tmp_path, ("functional", "rtl"))


def test_gathered_windows_of_narrow_integers(tmp_path: Path) -> None:
    cfg = named_configs()["x-int4"]
    net = NetworkBuilder("stem", 0, (3, 12, 12))
    model = net.model(net.conv("conv2", net.relu("relu", net.conv("conv1", "input", 8, 3)), 8, 3))
    x = np.random.default_rng(0).normal(size=(4, 3, 12, 12)).astype(np.float32)
    quantized = vta_app.quantize(model, cfg, x, config=QConfig(edge_bits=None))
    loaded = vta_app.compile(quantized, cfg, packing="cycles")
    assert any(isinstance(step, PackStep) for step in loaded.steps)
    check_runs(loaded, x[:2], tmp_path, ("functional",))


def test_integers_at_the_borders(tmp_path: Path) -> None:
    """With the CPU's steps left out, what they would have made goes in and what they would have taken comes out."""
    cfg = named_configs()["x-int4"]
    whole = vta_app.compile(vta_app.quantize(network(), cfg, images()), cfg)  # its last layers stay on the CPU
    with pytest.raises(ProgramError, match=r"node 'pool' \(GlobalAveragePool\): .*--integers"):
        export_c(whole, tmp_path)
    assert not any(tmp_path.iterdir())
    inner = cut(whole, Border.ALL)
    x = np.random.default_rng(1).integers(-8, 8, (2, 4, 6, 6))
    exported = export_c(whole, tmp_path, border=Border.ALL, samples={inner.inputs[0]: x})
    assert exported.inputs == inner.inputs
    done = c_programs.run(c_programs.make(tmp_path), cfg)
    assert (done.returncode, done.stderr) == (0, "")
    expected = Executor(inner, FunctionalDevice(cfg)).run({inner.inputs[0]: x})
    assert list(expected) == list(exported.outputs)
    for name, values in expected.items():
        found = c_programs.printed(done.stdout, name, values.dtype)
        assert found.tobytes() == values.tobytes()


def test_what_a_driver_survives(tmp_path: Path) -> None:
    """Errors before and in runs, each with its number; afterwards the same outputs; no undefined behaviour."""
    loaded = program("tiny")
    export_c(loaded, tmp_path, samples={"x": images(1)})
    flags = "-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all"
    done = c_programs.run(c_programs.make(tmp_path, flags=flags, main=c_programs.HERE / "trials.c"), loaded.config)
    assert (done.returncode, done.stderr) == (0, "")
    found = dict(line.split(": ") for line in done.stdout.splitlines())
    codes = error_codes(tmp_path)
    expected = {
        "run before load": "NOT_LOADED",
        "fingerprint": "FINGERPRINT",
        "capability": "CAPABILITY",
        "arena begins in a page": "ARENA",
        "arena beyond the bus": "ARENA",
        "run after a failed load": "NOT_LOADED",
        "load": None,
        "run": None,
        "polls": "TIMEOUT",
        "time": "TIMEOUT",
        "run after timeouts": None,
        "watchdog": "REPORTED",
        "run by interrupt": None,
    }
    assert {name: int(found[name]) for name in expected} == {
        name: codes[code] if code else 0 for name, code in expected.items()
    }
    assert found["watchdog's words"] == "nothing moved for as long as WATCHDOG allows"
    assert found["same outputs"] == "1"


def error_codes(folder: Path) -> dict[str, int]:
    """The numbers of the driver's errors by name, in the header's order."""
    text = (folder / "vta_driver.h").read_text()
    names = [line.split("VTA_ERROR_")[1].split(",")[0] for line in text.splitlines() if "    VTA_ERROR_" in line]
    return {name.split()[0]: number for number, name in enumerate(names, 1)}


def test_errors_of_the_bus_are_reported(tmp_path: Path) -> None:
    loaded = program("tiny")
    export_c(loaded, tmp_path)
    executable = c_programs.make(tmp_path)
    begin = 0x7F00_0000 + loaded.segment("weights").offset
    done = c_programs.run(executable, loaded.config, MemoryModel(error_range=(begin, begin + 64)))
    assert done.returncode == error_codes(tmp_path)["REPORTED"]
    assert "reported: the memory answered a read with an error" in done.stdout
    assert "first at instruction" in done.stdout
    other = c_programs.run(executable, named_configs()["batch2"])
    assert other.returncode in (error_codes(tmp_path)["FINGERPRINT"], error_codes(tmp_path)["CAPABILITY"])
    assert "the accelerator has" in other.stdout


def test_export_is_deterministic_and_builds_elsewhere(tmp_path: Path) -> None:
    loaded = program("tiny")
    for folder in ("a", "b"):
        export_c(loaded, tmp_path / folder, name="net2")
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert [(tmp_path / "a" / name).read_bytes() for name in names] == [
        (tmp_path / "b" / name).read_bytes() for name in names
    ]
    assert {"net2.c", "net2.h"} <= set(names)
    (tmp_path / "a/xil_cache.h").write_text(
        "#include <stdint.h>\ntypedef intptr_t INTPTR; typedef uint32_t u32;\n"
        "void Xil_DCacheFlushRange(INTPTR, u32); void Xil_DCacheInvalidateRange(INTPTR, u32);\n"
    )
    (tmp_path / "a/xtime_l.h").write_text("typedef uint64_t XTime; void XTime_GetTime(XTime *);\n")
    command = ["cc", "-std=c99", *c_programs.STRICT.split(), "-fsyntax-only", "port_xilinx.c"]
    assert subprocess.run(command, cwd=tmp_path / "a", check=False).returncode == 0
    if shutil.which("g++"):
        command = ["g++", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c++", "net2.h"]
        assert subprocess.run(command, cwd=tmp_path / "a", check=False).returncode == 0
    for bad in ("Net", "vta_net", "../x", ""):
        with pytest.raises(DataError, match="name"):
            export_c(loaded, tmp_path / "c", name=bad)
    assert not (tmp_path / "c").exists()
