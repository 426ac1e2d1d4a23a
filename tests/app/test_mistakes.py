"""A user's mistake: one line, exit status 1, no traceback, nothing half-written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from app_networks import network, write_files

Refused = Callable[..., str]


@pytest.fixture(autouse=True)
def _files(tmp_path: Path) -> None:
    write_files(tmp_path)


@pytest.fixture
def program(vta: Callable) -> str:
    """A compiled program for the configuration ``tiny``."""
    made = vta("quantize", "f.onnx", "--config", "tiny", "--calibration", "data.npz", "-o", "q.onnx")
    assert made.status == 0, made
    made = vta("compile", "q.onnx", "--config", "tiny", "-o", "p.vta")
    assert made.status == 0, made
    return "p.vta"


QUANTIZE = ("quantize", "f.onnx", "--calibration", "data.npz", "-o", "q.onnx")


def test_configuration_that_cannot_be_encoded(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("log_acc_buff = 20\n")
    assert "4A+20 <= 64" in refused(*QUANTIZE, "--config", "c.toml")


def test_onnx_that_is_not_one(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "noise.onnx").write_bytes(np.random.default_rng(0).bytes(5000))
    for command in ("quantize", "compile"):
        extra = ("--calibration", "data.npz") if command == "quantize" else ()
        assert "noise.onnx" in refused(command, "noise.onnx", *extra, "-o", "q.onnx")
        assert "missing.onnx" in refused(command, "missing.onnx", *extra, "-o", "q.onnx")


def test_truncated_onnx(refused: Refused, tmp_path: Path) -> None:
    whole = (tmp_path / "f.onnx").read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    refused("quantize", "cut.onnx", "--calibration", "data.npz", "-o", "q.onnx")


def test_float_network_is_not_compiled(refused: Refused) -> None:
    assert "vta quantize" in refused("compile", "f.onnx", "-o", "p.vta")


def test_calibration_of_another_shape(refused: Refused) -> None:
    line = refused("quantize", "f.onnx", "--calibration", "data.npz:wrong", "-o", "q.onnx")
    assert "[4, 3, 5, 5]" in line
    assert "4, 6, 6" in line


def test_calibration_key_that_is_missing(refused: Refused) -> None:
    line = refused("quantize", "f.onnx", "--calibration", "data.npz:images", "-o", "q.onnx")
    assert "no array 'images'; it has 'x', 'y', 'wrong'" in line


def test_dynamic_dimensions_name_the_option(refused: Refused, vta: Callable, tmp_path: Path) -> None:
    onnx.save(network(["N", 4, "H", "W"]), tmp_path / "dynamic.onnx")
    arguments = ("quantize", "dynamic.onnx", "--calibration", "data.npz", "-o", "q.onnx")
    line = refused(*arguments)
    assert "'x'" in line
    assert "--shape x=" in line
    assert vta(*arguments, "--shape", "x=1,4,6,6").status == 0


@pytest.mark.parametrize("shape", ["x", "x=", "x=1,a", "x=1,-2", "=1,2", "x=0,3"])
def test_shape_that_is_none(refused: Refused, shape: str) -> None:
    assert "must be NAME=D1,D2" in refused(*QUANTIZE, "--shape", shape)


@pytest.mark.parametrize("path", ["none/q.onnx", "/proc/q.onnx", ".", "/dev/full"])
def test_output_that_cannot_be_written(refused: Refused, path: str) -> None:
    assert "cannot be written" in refused("quantize", "f.onnx", "--calibration", "data.npz", "-o", path)
    assert "cannot be written" in refused("model", "resnet8", "-o", path)
    assert "cannot be written" in refused("verilog", "--config", "tiny", "-o", path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    assert "Permission denied" in refused(*QUANTIZE[:-1], "closed/q.onnx")


def test_unknown_model(refused: Refused) -> None:
    assert "known models: resnet18, resnet34, resnet50, mobilenet_v1" in refused("model", "lenet", "-o", "m.onnx")


def test_damaged_program(refused: Refused, program: str, tmp_path: Path) -> None:
    whole = (tmp_path / program).read_bytes()
    for name, content in {
        "cut.vta": whole[: len(whole) // 2],
        "flip.vta": whole[: len(whole) // 3] + bytes([whole[len(whole) // 3] ^ 1]) + whole[len(whole) // 3 + 1 :],
        "noise.vta": b"hello",
        "empty.vta": b"",
    }.items():
        (tmp_path / name).write_bytes(content)
        assert name in refused("run", name, "--input", "data.npz")


def test_program_for_another_configuration(refused: Refused, program: str) -> None:
    line = refused("run", program, "--input", "data.npz", "--config", "pynq-z1")
    assert "tiny" in line
    assert "pynq-z1" in line


def test_input_and_labels_of_another_shape(refused: Refused, program: str) -> None:
    assert "4, 6, 6" in refused("run", program, "--input", "data.npz:wrong")
    assert "labels have shape" in refused("run", program, "--input", "data.npz", "--labels", "data.npz:x")
    for limit in ("0", "-1"):
        assert f"limit = {limit}" in refused("run", program, "--input", "data.npz", "--limit", limit)


def test_bus_of_a_backend_without_a_clock(refused: Refused, program: str) -> None:
    assert "use --backend rtl" in refused("run", program, "--input", "data.npz", "--beat-interval", "2")


def test_arrays_that_mean_nothing(refused: Refused, vta: Callable, program: str, tmp_path: Path) -> None:
    with np.load(tmp_path / "data.npz") as data:
        x = data["x"]
    nan = np.where(np.arange(x.size).reshape(x.shape) == 5, np.nan, x)
    labels = {"short": np.arange(7), "long": np.arange(9), "half": np.arange(8) + 0.5}
    np.savez(tmp_path / "odd.npz", x=x, nan=nan, object=np.array([{}, 1], dtype=object), **labels)
    for key in ("nan", "object"):
        assert key in refused("run", program, "--input", f"odd.npz:{key}").lower()
        refused("quantize", "f.onnx", "--calibration", f"odd.npz:{key}", "-o", "q2.onnx")
    for key in labels:
        assert "labels" in refused("run", program, "--input", "odd.npz", "--labels", f"odd.npz:{key}")
    assert vta("run", program, "--input", "odd.npz", "--labels", "odd.npz:short", "--limit", "7").status == 0
    assert vta("run", program, "--input", "odd.npz", "--limit", "1000").status == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("bogus",), "No such command 'bogus'; see vta --help"),
        (("config",), "Missing command; see vta config --help"),
        (("run", "--bogus"), "No such option: --bogus"),
        (("run",), "Missing argument 'P.vta'; see vta run --help"),
        (("run", "p.vta", "--input", "data.npz", "--backend", "fpga"), "'fpga' is not one of"),
        (("model", "resnet8", "-o", "m.onnx", "--seed", "x"), "--seed"),
    ],
)
def test_wrong_command_line_is_one_line(vta: Callable, arguments: tuple[str, ...], message: str) -> None:
    outcome = vta(*arguments)
    assert outcome.status == 2
    assert outcome.err.startswith("vta: error: ")
    assert outcome.err.count("\n") == 1
    assert message in outcome.err


def test_no_arguments_show_the_commands(vta: Callable) -> None:
    outcome = vta()
    assert outcome.status == 0
    assert "quantize" in outcome.out


def test_network_of_other_widths_says_that_it_stays_on_the_cpu(vta: Callable, program: str) -> None:
    outcome = vta("compile", "q.onnx", "--config", "int4", "-o", "p4.vta")
    assert outcome.status == 0
    assert program
    assert "0 layers for int4" in outcome.err
    assert "stay on the CPU: 'conv' because activation" in outcome.err


def test_layer_that_there_is_not(refused: Refused, program: str) -> None:
    line = refused("run", program, "--input", "data.npz", "--layer", "conv9", "--backend", "functional")
    assert "conv9" in line
    assert "conv" in line
    assert "names no layer" in refused("run", program, "--input", "data.npz", "--layer", ",")


def test_results_that_cannot_be_written(refused: Refused, program: str) -> None:
    for option in ("-o", "--json"):
        assert "cannot be written" in refused("run", program, "--input", "data.npz", option, "none/result")
    assert "cannot be written" in refused("compile", "q.onnx", "--config", "tiny", "-o", "/dev/full")


def test_stream_of_odd_length(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "i.bin").write_bytes(bytes(17))
    assert "multiple of 16" in refused("disasm", "i.bin")
    assert "missing.bin" in refused("disasm", "missing.bin")
