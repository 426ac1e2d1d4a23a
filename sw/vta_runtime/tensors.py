"""Tensors between host memory and the accelerator's tiles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from vta_arch.config import VTAConfig
from vta_arch.layout import ceil_div, pack_bits, tile_activation, unpack_bits, untile_activation
from vta_arch.program import Tensor, channels_first

Ints = NDArray[np.integer]


def pack_tensor(cfg: VTAConfig, tensor: Tensor, values: Ints) -> NDArray[np.uint8]:
    """Bytes of ``values`` (int8 or uint8, of the tensor's shape) as tiles that GEMM reads."""
    tiles = tile_activation(channels_first(values.reshape(tensor.shape)), cfg.batch, cfg.block_in)
    if cfg.inp_width == 8:
        return np.ascontiguousarray(tiles).reshape(-1).view(np.uint8)
    return pack_bits(tiles, cfg.inp_width)


def unpack_tensor(cfg: VTAConfig, tensor: Tensor, data: NDArray[np.uint8]) -> Ints:
    """The tensor of its shape and host type from the bytes of tiles that STORE wrote."""
    n, c, h, w = tensor.nchw
    shape = (ceil_div(n, cfg.batch), ceil_div(c, cfg.block_out), h, w, cfg.batch, cfg.block_out)
    kind = np.dtype(np.int8 if cfg.inp_is_signed else np.uint8)
    flat = data.view(kind) if cfg.inp_width == 8 else unpack_bits(data, cfg.inp_width, signed=cfg.inp_is_signed)
    values = tensor.as_shaped(untile_activation(flat.reshape(shape), n, c))
    return np.ascontiguousarray(values).astype(tensor.host_dtype)
