"""Small configurations for tests: every width, batches, non-square blocks, every bus."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from vta_arch.config import EXTENSIONS, UOP_BITS, VTAConfig
from vta_arch.errors import ConfigError
from vta_arch.presets import load_preset


def sized_config(
    *,
    log_uop: int,
    log_inp: int,
    log_wgt: int,
    log_acc: int,
    name: str,
    inp_width: int = 8,
    wgt_width: int = 8,
    acc_width: int = 32,
    batch: int = 1,
    block_in: int = 4,
    block_out: int = 4,
    **others: Any,
) -> VTAConfig:
    """A configuration with the given log depths (elements) instead of log buffer sizes (bytes).

    Raises ConfigError when it is not legal.
    """

    def log_bytes(log_depth: int, bits: int) -> int:
        return log_depth + bits.bit_length() - 1 - 3

    return VTAConfig(
        name=name,
        inp_width=inp_width,
        wgt_width=wgt_width,
        acc_width=acc_width,
        batch=batch,
        block_in=block_in,
        block_out=block_out,
        log_uop_buff=log_bytes(log_uop, UOP_BITS),
        log_inp_buff=log_bytes(log_inp, batch * block_in * inp_width),
        log_wgt_buff=log_bytes(log_wgt, block_out * block_in * wgt_width),
        log_acc_buff=log_bytes(log_acc, batch * block_out * acc_width),
        **others,
    )


def named_configs() -> dict[str, VTAConfig]:
    """Named small configurations that together cover what a configuration can choose."""
    depths: dict[str, Any] = {"log_uop": 6, "log_inp": 6, "log_wgt": 5, "log_acc": 6}
    overlap = {**depths, "extensions": frozenset({"overlap"})}
    return {
        "tiny": load_preset("tiny"),
        "int4": sized_config(
            name="t-int4", inp_width=4, wgt_width=4, block_in=8, block_out=8, axi_data_width=32, **overlap
        ),
        "w4a8": sized_config(name="t-w4a8", wgt_width=4, block_in=8, block_out=4, **depths),
        "int2": sized_config(name="t-int2", inp_width=2, wgt_width=2, block_in=16, block_out=16, **overlap),
        "int1": sized_config(
            name="t-int1", inp_width=1, wgt_width=1, block_in=32, block_out=16, axi_data_width=128, **depths
        ),
        "batch2": sized_config(name="t-batch2", batch=2, block_in=4, block_out=8, **overlap),
        "acc16": sized_config(
            name="t-acc16",
            inp_width=4,
            wgt_width=4,
            acc_width=16,
            block_in=4,
            block_out=4,
            axi_data_width=32,
            **overlap,
        ),
        "unsigned": sized_config(name="t-unsigned", inp_signed=False, axi_data_width=512, **depths),
        "narrow": sized_config(name="t-narrow", block_in=1, block_out=2, axi_data_width=128, **overlap),
        "wide-address": sized_config(name="t-wide-address", block_in=8, block_out=2, axi_addr_width=40, **overlap),
        **_extended_configs(depths),
    }


def _extended_configs(depths: dict[str, Any]) -> dict[str, VTAConfig]:
    """Configurations with the extensions requant, pad_value and depthwise; names start with "x-"."""
    every: dict[str, Any] = {**depths, "extensions": frozenset(EXTENSIONS), "log_req_depth": 3}
    some: dict[str, Any] = {**every, "extensions": frozenset({"requant", "pad_value"})}
    return {
        "x-tiny": replace(load_preset("tiny"), name="tx-tiny", extensions=frozenset(EXTENSIONS), log_req_depth=4),
        "x-block16": sized_config(name="tx-block16", block_in=16, block_out=16, **every),
        "x-int4": sized_config(
            name="tx-int4", inp_width=4, wgt_width=4, block_in=8, block_out=8, axi_data_width=32, **every
        ),
        "x-batch2": sized_config(
            name="tx-batch2", batch=2, block_in=8, block_out=8, axi_data_width=128, requant_lanes=2, **every
        ),
        "x-acc16": sized_config(
            name="tx-acc16", inp_signed=False, wgt_width=2, acc_width=16, block_in=2, block_out=2, **every
        ),
        "x-int2": sized_config(
            name="tx-int2", inp_width=2, wgt_width=4, block_in=16, block_out=16, requant_lanes=1, **every
        ),
        "x-int1": sized_config(
            name="tx-int1", inp_width=1, wgt_width=1, block_in=32, block_out=8, axi_data_width=512, **some
        ),
    }


def random_config(rng: np.random.Generator) -> VTAConfig:
    """A legal small configuration (at most 256 products a cycle, depths of 32 to 256)."""
    while True:
        batch, block_in, block_out = (int(rng.choice(v)) for v in ([1, 1, 2, 4], _BLOCKS, _BLOCKS))
        if rng.random() < 0.4:
            block_out = block_in
        inp_width, wgt_width = (int(rng.choice([1, 2, 4, 8])) for _ in range(2))
        vector = batch * inp_width
        elements = (vector * block_in, vector * block_out, block_in * block_out * wgt_width)
        if min(elements) < 8 or batch * block_in * block_out > 256:
            continue
        uop, inp, wgt, acc = (int(rng.integers(5, 9)) for _ in range(4))
        found = sized_config(
            name="random",
            log_uop=uop,
            log_inp=inp,
            log_wgt=wgt,
            log_acc=acc,
            batch=batch,
            block_in=block_in,
            block_out=block_out,
            inp_width=inp_width,
            wgt_width=wgt_width,
            acc_width=int(rng.choice([16, 32])),
            inp_signed=bool(rng.integers(2)),
            axi_data_width=int(rng.choice([32, 64, 128, 256, 512])),
            axi_addr_width=int(rng.choice([32, 40, 64])),
        )
        return _extended(found, rng)


def _extended(cfg: VTAConfig, rng: np.random.Generator) -> VTAConfig:
    """``cfg`` with some of the extensions that it can have."""
    for name in EXTENSIONS:
        if rng.integers(2):
            continue
        try:
            cfg = replace(cfg, extensions=cfg.extensions | {name})
        except ConfigError:
            # A field of the base format takes the extension's bit, or blocks and widths do not suit it.
            continue
    if "requant" in cfg.extensions:
        cfg = replace(cfg, log_req_depth=int(rng.integers(1, 7)), requant_lanes=int(rng.choice([0, 1, 2, 4])))
    return cfg


_BLOCKS = [1, 2, 4, 8, 16, 32]
