"""The whole path on a real network, then a ResNet-18 layer on the RTL: what ``make demo`` runs.

The digits ResNet is quantized and compiled, run over the whole held-out set on the functional simulator and
over some images on the RTL; then one ResNet-18 layer is co-simulated. Each result is compared, bit for bit,
with the integer reference. Files stay in ``build/demo``.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import digits_data
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from vta_app import Program, RunReport, VTAConfig, compile, generate_verilog, load_config, quantize, run
from vta_app.output import ProgressCallback, print_table, progress_bars
from vta_arch.files import write_text
from vta_arch.presets import DEFAULT_PRESET
from vta_sim.verilator_tool import find_compiler
from vta_sw.frontend import save_model
from vta_sw.models import MODELS

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parent / "build" / "demo"
CALIBRATION_IMAGES = 256
RTL_IMAGES = 32
LAYER_SHAPE = (1, 64, 56, 56)
"""Input of the first 3x3 convolution of ResNet-18's first stage."""


@dataclass(frozen=True)
class Result:
    """One row of the table: a program with its runs on both simulators."""

    name: str
    float_top1: float | None
    program: Program
    functional: RunReport
    rtl: RunReport

    @property
    def agrees(self) -> bool:
        """RTL = functional = integer reference, every element of every layer and every output."""
        same = all(
            np.array_equal(values, self.functional.outputs[name][: self.rtl.images])
            for name, values in self.rtl.outputs.items()
        )
        return same and self.functional.mismatches == 0 and self.rtl.mismatches == 0

    @property
    def share_of_peak(self) -> float:
        """True multiply-accumulates divided by what the array could do in the cycles taken, in percent."""
        macs = self.program.macs * self.rtl.images / self.program.batch
        return 100 * macs / ((self.rtl.cycles or 0) * self.program.config.macs_per_cycle)


def float_top1(path: Path, digits: digits_data.Digits) -> float:
    """Accuracy of the float network in onnxruntime, in percent."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {session.get_inputs()[0].name: digits.x})
    return float((logits.argmax(1) == digits.y).mean() * 100)


def run_digits(cfg: VTAConfig, progress: ProgressCallback) -> Result:
    """The digits ResNet over the held-out images: all of them functional, the first ones on the RTL."""
    network = HERE / "digits_resnet.onnx"
    train, test = digits_data.load()
    program = build(network, cfg, train.x[:CALIBRATION_IMAGES], "digits", progress)
    functional = run(program, test.x, labels=test.y, check=True, progress=progress)
    rtl = run(program, test.x, backend="rtl", limit=RTL_IMAGES, check=True, progress=progress)
    return Result("digits ResNet, 8x8", float_top1(network, test), program, functional, rtl)


def run_layer(cfg: VTAConfig, progress: ProgressCallback) -> Result:
    """One 3x3 convolution of ResNet-18, 64 to 64 channels on 56x56, with BatchNorm and ReLU."""
    rng = np.random.default_rng(18)
    images = np.maximum(rng.normal(size=(2, *LAYER_SHAPE[1:])), 0).astype(np.float32)
    program = build(extract_layer(MODELS["resnet18"](0)), cfg, images, "resnet18_layer", progress)
    functional = run(program, images[:1], check=True, progress=progress)
    rtl = run(program, images[:1], backend="rtl", check=True, progress=progress)
    return Result("ResNet-18 3x3 64-64 56x56", None, program, functional, rtl)


def extract_layer(model: onnx.ModelProto) -> onnx.ModelProto:
    """The first 3x3 convolution of a ResNet that has an input of LAYER_SHAPE, with what follows up to its ReLU."""
    inferred = onnx.shape_inference.infer_shapes(model)
    channels = LAYER_SHAPE[1]
    weights = {w.name: tuple(w.dims) for w in inferred.graph.initializer}
    nodes = inferred.graph.node
    conv = next(n for n in nodes if n.op_type == "Conv" and weights[n.input[1]] == (channels, channels, 3, 3))
    relu = next(n for n in list(nodes)[list(nodes).index(conv) :] if n.op_type == "Relu")
    return onnx.utils.Extractor(inferred).extract_model([conv.input[0]], [relu.output[0]])


def build(
    network: Path | onnx.ModelProto, cfg: VTAConfig, images: NDArray[Any], name: str, progress: ProgressCallback
) -> Program:
    """Quantize and compile; the quantized network and the program are left in FOLDER."""
    quantized = quantize(network, cfg, images, progress=progress)
    save_model(quantized, FOLDER / f"{name}_q.onnx")
    program = compile(quantized, cfg, progress=progress)
    program.save(FOLDER / f"{name}.vta")
    return program


def percent(value: float | None) -> str:
    """A percentage, or a dash."""
    return "-" if value is None else f"{value:.2f} %"


def row(result: Result) -> list[str]:
    """Cells of the table."""
    return [
        result.name,
        percent(result.float_top1),
        percent(result.functional.top1),
        f"{result.functional.images} / {result.rtl.images}",
        "yes, bit for bit" if result.agrees else "NO",
        f"{result.rtl.cycles_per_image:,.0f}",
        f"{result.share_of_peak:.1f} %",
    ]


COLUMNS = ["network", "float", "quantized", "images functional / RTL", "RTL = functional = reference"]
NUMBERS = ["cycles an image", "of the array's peak"]


def main() -> int:
    """Run everything and print the table; exit status 1 when anything differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", default=DEFAULT_PRESET, help="preset or file (default: %(default)s)")
    cfg = load_config(parser.parse_args().config)
    start = time.perf_counter()
    FOLDER.mkdir(parents=True, exist_ok=True)
    print(f"configuration {cfg.name}: {cfg.block_in}x{cfg.block_out} array, {cfg.wgt_width}-bit weights", flush=True)
    if find_compiler().is_zig:
        print("no C++ compiler on this machine: the simulator is built with the one in the ziglang wheel", flush=True)
    verilog = FOLDER / f"vta_top_{cfg.name}.v"
    with progress_bars() as progress:
        progress("Verilog", 0, 1)
        write_text(verilog, generate_verilog(cfg))
        progress("Verilog", 1, 1)
        results = [run_digits(cfg, progress), run_layer(cfg, progress)]
    print()
    print_table([*COLUMNS, *NUMBERS], [row(result) for result in results], right=["float", "quantized", *NUMBERS])
    rtl = results[-1].rtl
    shown = verilog.relative_to(HERE.parent)
    print(f"\nRTL simulation: {(rtl.cycles or 0) / rtl.seconds / 1e6:.2f} M cycles/s")
    print(f"Verilog: {shown}; quantized networks and programs beside it")
    print(f"done in {time.perf_counter() - start:.0f} s")
    return 0 if all(result.agrees for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
