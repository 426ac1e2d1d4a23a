"""Networks whose inputs and outputs are integers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from quantized_networks import images, small_network
from vta_arch.errors import ModelError
from vta_arch.presets import load_preset
from vta_runtime.executor import Executor
from vta_sim.functional import FunctionalDevice
from vta_sw.compiler import compile
from vta_sw.models import NetworkBuilder
from vta_sw.quantize import PartitionConversions, QConfig, quantize
from vta_sw.quantize.integral import SCALE_KEY
from vta_sw.quantize.types import IntType


@pytest.mark.parametrize("name", ["tiny", "pynq-z1", "int4"])
def test_integral_networks_run_with_integers(name: str) -> None:
    """Without its conversions a network computes, and is compiled to, the same integers."""
    cfg = load_preset(name)
    plain = QConfig(edge_bits=None, dtype_input=f"int{cfg.inp_width}")  # bare integers have no zero points
    whole = quantize(small_network(), cfg, images(), config=plain)
    bare = quantize(
        small_network(), cfg, images(), config=replace(plain, partition_conversions=PartitionConversions.FULLY_INTEGRAL)
    )
    onnx.checker.check_model(bare)
    scales = {item.key: float(item.value) for item in bare.metadata_props if item.key.startswith(SCALE_KEY)}
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*bare.graph.input, *bare.graph.output)}
    assert set(kinds.values()) == {IntType(cfg.inp_width, True).onnx_type}
    x = images(4, seed=3)
    integers = np.clip(np.rint(x / scales[f"{SCALE_KEY}input"]), cfg.inp_min, cfg.inp_max).astype(np.int8)
    program = compile(bare, cfg)
    assert not program.on_cpu
    found = Executor(program, FunctionalDevice(cfg)).run({"input": integers})["output"]
    expected = Executor(compile(whole, cfg), FunctionalDevice(cfg)).run({"input": x})["output"]
    expected = expected / scales[f"{SCALE_KEY}output"]
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_integral_networks_have_no_float_ends() -> None:
    net = NetworkBuilder("soft", 0, (3, 12, 12))
    out = net.dense("fc", net.flatten("flat", net.conv("conv", "input", 4, 3)), 4)
    model = net.model(out)
    model.graph.node.append(onnx.helper.make_node("Softmax", ["output"], ["shares"], name="softmax"))
    model.graph.output[0].name = "shares"
    config = QConfig(partition_conversions=PartitionConversions.FULLY_INTEGRAL)
    with pytest.raises(ModelError, match="output 'shares' is made by float operators"):
        quantize(model, load_preset("tiny"), images(), config=config)
