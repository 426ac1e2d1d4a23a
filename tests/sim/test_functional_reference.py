"""Random streams on the functional device and on the scalar interpreter."""

from __future__ import annotations

import numpy as np
import pytest
from scalar_interpreter import compare
from vta_sim.random_streams import Flavour, named_configs, random_config, random_stream

CONFIGS = named_configs()


@pytest.mark.parametrize("flavour", list(Flavour))
@pytest.mark.parametrize("name", list(CONFIGS))
def test_random_streams_agree(name: str, flavour: Flavour) -> None:
    cfg = CONFIGS[name]
    rng = np.random.default_rng([len(name), cfg.fingerprint(), list(Flavour).index(flavour)])
    count = 1 if cfg.macs_per_cycle > 100 else 4
    for _ in range(count):
        errors = compare(random_stream(cfg, rng, flavour))
        assert bool(errors) == (flavour is Flavour.FAULTS)


@pytest.mark.parametrize("seed", range(6))
def test_random_configurations_agree(seed: int) -> None:
    rng = np.random.default_rng(seed)
    compare(random_stream(random_config(rng), rng))
