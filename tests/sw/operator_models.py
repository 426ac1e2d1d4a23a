"""Networks of one operator between integers, and how far a program is from onnxruntime on them."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
from qdq_models import QdqBuilder
from test_lower import assert_program_balanced
from vta_arch.config import VTAConfig
from vta_arch.presets import load_preset
from vta_arch.program import Program
from vta_runtime.executor import Executor
from vta_sim.functional import FunctionalDevice
from vta_sw.compiler import compile
from vta_sw.frontend import open_session, run_session

CONFIGS = {
    **{name: load_preset(name) for name in ("tiny", "pynq-z1", "int4", "w4a8", "int2", "classic")},
    "no-depthwise": dataclasses.replace(load_preset("tiny"), extensions=frozenset({"overlap", "requant", "pad_value"})),
    "no-overlap": dataclasses.replace(load_preset("tiny"), extensions=frozenset({"requant", "pad_value"})),
    "unsigned": dataclasses.replace(load_preset("tiny"), inp_signed=False),
    "batch2": dataclasses.replace(load_preset("tiny"), batch=2, log_inp_buff=11, log_acc_buff=13),
}
ANY_SCALE = tuple(name for name, cfg in CONFIGS.items() if "requant" in cfg.extensions)


def any_scale(cfg: VTAConfig) -> bool:
    return "requant" in cfg.extensions


def same_pair(net: QdqBuilder, name: str, source: str) -> str:
    """A pair behind ``name`` with the scale and zero point of the activation ``source``."""
    maker = next(node for node in net.nodes if node.output[0] == source)
    extras = list(maker.input[1:])
    kind = {} if len(extras) > 1 else {"output_dtype": net.kind}
    net.node("QuantizeLinear", [name, *extras], f"{name}_q", **kind)
    net.scales[f"{name}_dq"] = net.scales[source]
    return net.node("DequantizeLinear", [f"{name}_q", *extras], f"{name}_dq")


def check(
    model: onnx.ModelProto, cfg: VTAConfig, inputs: dict[str, np.ndarray], scale: float, layers: int | None
) -> tuple[Program, np.ndarray]:
    """The program, and how many output steps it is from onnxruntime, element by element.

    The functional simulator must equal the reference in every layer, of which there are ``layers`` (None: any).
    """
    program = compile(model, cfg)
    assert layers in (None, len(program.layers)), program.offload
    assert_program_balanced(program)
    executor = Executor(program, FunctionalDevice(cfg))
    found = executor.run(inputs, check=True)[program.outputs[0]]
    assert executor.report.mismatches == 0, executor.report.mismatches_by_layer
    expected = run_session(open_session(model, exact=True), [program.outputs[0]], inputs)[0]
    return program, np.abs(np.rint((found.astype(np.float64) - expected) / scale)).astype(np.int64)


def images(shape: tuple[int, ...], count: int = 3, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 4, (count, *shape)).astype(np.float32)
