"""Speed of the quantizer and the compiler: ResNet-20 where the shared data is, ResNet-8 and ResNet-18 always.

Usage: python benchmarks/compiler.py [--config NAME] [--json FILE]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from vta_app import VTAConfig, compile, load_config, quantize
from vta_app.output import print_table, write_json
from vta_arch.presets import DEFAULT_PRESET
from vta_sw.models import MODELS

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
IMAGE_SHAPES = {"resnet8": (32, 3, 32, 32), "resnet18": (4, 3, 224, 224)}
"""Calibration images of each network of the zoo."""
COMPILE_REACH = {"ResNet-20": 3.0}
"""Seconds to stay under."""


def measure(name: str, network: onnx.ModelProto | Path, cfg: VTAConfig, images: NDArray[Any]) -> dict[str, Any]:
    """Quantize and compile a network once."""
    start = time.perf_counter()
    quantized = quantize(network, cfg, images)
    middle = time.perf_counter()
    program = compile(quantized, cfg)
    end = time.perf_counter()
    return {
        "network": name,
        "calibration_images": len(images),
        "quantize_seconds": middle - start,
        "compile_seconds": end - middle,
        "reach_compile_seconds": COMPILE_REACH.get(name),
        "layers": len(program.layers),
        "instructions": len(program.instructions()),
    }


def networks() -> dict[str, tuple[onnx.ModelProto | Path, NDArray[Any]]]:
    """Each network and its calibration images."""
    rng = np.random.default_rng(1)
    found: dict[str, tuple[onnx.ModelProto | Path, NDArray[Any]]] = {
        name: (MODELS[name](0), rng.normal(size=shape).astype(np.float32)) for name, shape in IMAGE_SHAPES.items()
    }
    if SHARED.is_dir():
        with np.load(SHARED / "cifar10_calibration_resnet20.npz") as data:
            found["ResNet-20"] = SHARED / "resnet20.onnx", data["x"].astype(np.float32)
    return found


def main() -> None:
    """Measure, print one table and write JSON."""
    parser = argparse.ArgumentParser(description="Speed of the quantizer and the compiler.")
    parser.add_argument("--config", default=DEFAULT_PRESET)
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench_compiler.json")
    arguments = parser.parse_args()
    cfg = load_config(arguments.config)
    results = [measure(name, network, cfg, images) for name, (network, images) in networks().items()]
    columns = ["network", "images", "quantize s", "compile s", "reach", "layers", "instructions"]
    rows = [
        [
            result["network"],
            result["calibration_images"],
            f"{result['quantize_seconds']:.2f}",
            f"{result['compile_seconds']:.2f}",
            f"< {result['reach_compile_seconds']:g}" if result["reach_compile_seconds"] else "-",
            result["layers"],
            f"{result['instructions']:,}",
        ]
        for result in results
    ]
    print_table(columns, rows, right=columns[1:])
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    write_json(arguments.json, {"config": cfg.name, "networks": results})


if __name__ == "__main__":
    main()
