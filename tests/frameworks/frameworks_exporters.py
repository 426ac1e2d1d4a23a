"""Networks from frameworks' own exporters, each in an environment of its own: ``make frameworks`` (gigabytes, minutes).

The exporters run as docs/from-frameworks.md has them; their files then go through quantizer, compiler and simulator.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from vta_app import compile, load_config, quantize, run

HERE = Path(__file__).parent
ENVIRONMENTS = Path(os.environ.get("VTA_FRAMEWORKS", "build/frameworks"))
PACKAGES = {
    "tensorflow": ("tensorflow-cpu", "tf2onnx", "onnx", "onnxruntime"),
    "nnabla": ("nnabla", "nnabla-converter", "setuptools<70", "numpy<2"),
}
INTERPRETERS = {"nnabla": "python3.10"}
"""Where a framework has no wheels for the Python that runs this."""
CONFIGS = ("pynq-z1", "tiny", "mlperf-tiny")


@pytest.fixture(scope="module")
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the framework's exporter wrote; skipped where the framework does not install."""
    name: str = request.param
    environment = (ENVIRONMENTS / name).absolute()
    python = environment / "bin" / "python"
    if not (environment / ".ready").exists():
        interpreter = shutil.which(INTERPRETERS.get(name, sys.executable))
        if interpreter is None:
            pytest.skip(f"{name} needs {INTERPRETERS[name]}, which is not on PATH")
        subprocess.run([interpreter, "-m", "venv", environment], check=True, timeout=120)
        install = [python, "-m", "pip", "install", "--quiet", *PACKAGES[name]]
        if subprocess.run(install, timeout=1800, check=False).returncode:
            pytest.skip(f"{name} does not install here")
        (environment / ".ready").touch()
    folder = tmp_path_factory.mktemp(name)
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run([python, HERE / f"export_{name}.py", folder], check=True, timeout=900, env=clean)
    return folder


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("exported", PACKAGES, indirect=True)
def test_float_network(exported: Path, config: str) -> None:
    """Quantized by us: all layers on the accelerator, nothing differs from the reference, near to float."""
    cfg = load_config(config)
    with np.load(exported / "images.npz") as archive:
        images = archive["x"]
    session = onnxruntime.InferenceSession(exported / "net.onnx")
    name = session.get_inputs()[0].name
    wanted = np.concatenate([np.asarray(session.run(None, {name: image[None]})[0]) for image in images])
    program = compile(quantize(exported / "net.onnx", cfg, images), cfg)
    assert len(program.layers) >= 3
    report = run(program, images, check=True)
    assert report.mismatches == 0
    (found,) = report.outputs.values()
    noise = np.square(found.reshape(wanted.shape) - wanted).sum() / np.square(wanted).sum()
    assert noise < 10**-2.5, f"{10 * np.log10(1 / noise):.1f} dB"


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("exported", ["tensorflow"], indirect=True)
def test_tflites_integers(exported: Path, config: str) -> None:
    """A TFLite int8 network gives onnxruntime's integers, but one output in 10,000 by one step."""
    cfg = load_config(config)
    with np.load(exported / "images.npz") as archive:
        images = np.clip(np.rint(archive["nhwc"] * 40), -128, 127).astype(np.int8)
    session = onnxruntime.InferenceSession(exported / "net_q.onnx")
    name = session.get_inputs()[0].name
    wanted = np.concatenate([np.asarray(session.run(None, {name: image[None]})[0]) for image in images])
    program = compile(exported / "net_q.onnx", cfg)
    assert len(program.layers) == 5
    report = run(program, images, check=True)
    assert report.mismatches == 0
    (found,) = report.outputs.values()
    off = np.abs(found.reshape(wanted.shape).astype(int) - wanted.astype(int))
    assert off.max() <= 1
    assert np.count_nonzero(off) <= max(1, off.size // 10_000)
