"""Random streams, recorded, for the tests of the timeline."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from vta_arch.config import VTAConfig
from vta_runtime.device import RunResult
from vta_sim.random_configs import named_configs
from vta_sim.random_streams import Flavour, random_stream
from vta_sim.rtl import MemoryModel
from vta_sim.trace_device import Launch, TracingDevice

CONFIGS = ("tiny", "int4", "batch2")
MEMORIES = (MemoryModel(), MemoryModel(latency=5, backpressure=0.3, seed=1))
MAX_SEED = len(Flavour)


@dataclass(frozen=True)
class Recorded:
    """A stream with its launch, the memory that it wrote, and the counters' registers after it."""

    seed: int
    launch: Launch
    outputs: list[NDArray[np.uint8]]
    counters: dict[str, int]
    cycles: int
    """Of the device, since it was made."""


def config(name: str) -> VTAConfig:
    return named_configs()[name]


def stream(name: str, seed: int, device: object) -> tuple[RunResult, list[NDArray[np.uint8]]]:
    """Run the stream of a seed, one of each flavour."""
    case = random_stream(config(name), np.random.default_rng(seed), list(Flavour)[seed])
    return case.run(device)  # type: ignore[arg-type]


@cache
def recorded(name: str, memory: MemoryModel = MEMORIES[0]) -> list[Recorded]:
    """One stream of each flavour, on one device."""
    launches: list[Launch] = []
    found = []
    with TracingDevice(config(name), memory, on_launch=launches.append) as device:
        for seed in range(MAX_SEED):
            _, outputs = stream(name, seed, device)
            cycles = device.cycles
            found.append(Recorded(seed, launches[-1], outputs, device.driver.counters(), cycles))
    return found
