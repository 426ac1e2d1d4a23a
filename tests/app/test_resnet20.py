"""A trained ResNet-20 on real images, end to end: accuracy on the functional simulator, bits on the RTL."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from vta_app import Program, RunReport, compile, load_config, quantize, run

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the shared networks and their data are not on this machine")

BATCH = 20
"""Images of one launch: long streams keep the simulators busy; divides both image counts."""
FLOAT_TOP1 = 91.5
ALLOWED_LOSS = 0.5
IMAGES, RTL_IMAGES = 1000, 20


def load(name: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Images and labels of a shared file."""
    with np.load(DATA / name) as arrays:
        return arrays["x"].astype(np.float32), arrays["y"].astype(np.int64)


@pytest.fixture(scope="module")
def program() -> Program:
    """The network quantized with the 512 calibration images and compiled for the default configuration."""
    cfg = load_config("pynq-z1")
    quantized = quantize(DATA / "resnet20.onnx", cfg, load("cifar10_calibration_resnet20.npz")[0])
    return compile(quantized, cfg, batch=BATCH)


def images(count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The first test images and their labels."""
    x, y = load("cifar10_test_resnet20.npz")
    return x[:count], y[:count]


def agree(report: RunReport, program: Program) -> None:
    """Every layer was compared, and no element differs."""
    assert set(report.mismatches_by_layer) == {layer.name for layer in program.layers}
    assert report.mismatches == 0, report.mismatches_by_layer


def test_every_convolution_runs_on_the_accelerator(program: Program) -> None:
    kinds = [layer.op for layer in program.layers]
    assert kinds.count("conv") >= 20
    fused = [layer for layer in program.layers if "requant_add" in layer.arrays]
    assert kinds.count("add") + len(fused) == 9
    assert len(fused) >= 8


def test_accuracy_over_all_test_images(program: Program) -> None:
    x, y = images(IMAGES)
    report = run(program, x, labels=y)
    assert report.images == IMAGES
    assert report.top1 is not None
    assert report.top1 >= FLOAT_TOP1 - ALLOWED_LOSS


def test_whole_images_on_the_rtl_bit_for_bit(program: Program) -> None:
    """RTL and functional simulator give the same as the integer reference in every layer, and the same outputs."""
    x, _ = images(RTL_IMAGES)
    reports = {backend: run(program, x, backend=backend, check=True) for backend in ("rtl", "functional")}
    reference = run(program, x, backend="reference")
    for report in reports.values():
        assert report.images == RTL_IMAGES
        agree(report, program)
        for name, values in reference.outputs.items():
            np.testing.assert_array_equal(report.outputs[name], values)
    assert reports["rtl"].cycles is not None
    assert reports["rtl"].cycles > program.macs * RTL_IMAGES // BATCH // program.config.macs_per_cycle
