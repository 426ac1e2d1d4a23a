"""The accelerator under cocotb with cocotbext-axi's models, against the functional simulator."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from vta_arch.encoding import encode_stream, finish, load, store
from vta_arch.errors import DeviceError
from vta_arch.isa import Memory
from vta_arch.registers import Errors
from vta_sim.cocotb_device import CocotbDevice
from vta_sim.functional import FunctionalDevice
from vta_sim.random_streams import Flavour, named_configs, random_stream

CONFIGS = named_configs()

pytestmark = pytest.mark.skipif(
    not (shutil.which("perl") and shutil.which("make")), reason="Verilator's makefiles need perl and make"
)


@pytest.mark.parametrize("name", ["tiny", "int4", "batch2"])
def test_streams_with_back_pressure(name: str) -> None:
    cfg = CONFIGS[name]
    for seed, backpressure in ((1, 0.0), (2, 0.3)):
        case = random_stream(cfg, np.random.default_rng([seed, 77]), Flavour.OVERLAPPED)
        expected, wanted = case.run(FunctionalDevice(cfg))
        result, found = case.run(CocotbDevice(cfg, backpressure=backpressure, seed=seed, timeout=120))
        assert result.errors == expected.errors
        assert result.cycles
        np.testing.assert_array_equal(np.concatenate(found), np.concatenate(wanted))


def test_error_responses_and_limits() -> None:
    cfg = CONFIGS["tiny"]
    size = {"x_size": 1, "y_size": 1, "x_stride": 1}
    insns = [
        load(cfg, Memory.ACC, push_next=1, dram_base=0x4000 // cfg.acc_elem_bytes, **size),
        store(cfg, pop_prev=1, push_prev=1, dram_base=0x8000 // cfg.out_elem_bytes, **size),
        finish(cfg, pop_next=1),
    ]
    for bad, expected in ((0x4000, Errors.AXI_READ), (0x8000, Errors.AXI_WRITE)):
        device = CocotbDevice(cfg, error_range=(bad, bad + 64), timeout=120)
        device.write(0x1000, encode_stream(cfg, insns))
        assert device.launch(0x1000, len(insns), {}).errors == expected
    device = CocotbDevice(cfg, max_cycles=20, timeout=120)
    device.write(0x1000, encode_stream(cfg, insns))
    with pytest.raises(DeviceError, match="max_cycles = 20"):
        device.launch(0x1000, len(insns), {})
    with pytest.raises(DeviceError, match="not a multiple of 64"):
        device.launch(0x1001, len(insns), {})
