"""Requantization in few passes over whole arrays; same results as :func:`vta_arch.requant.requantize`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from vta_arch.config import REQ_CHANNEL_BYTES
from vta_arch.requant import RequantParams

Params = NDArray[np.int64]
"""[..., PARAM_ROWS, block_out], made by :func:`prepare`. Parameters of zero bits are zeros."""
PARAM_ROWS = 8


def prepare(raw: NDArray[np.uint8], block_out: int, acc_width: int) -> Params:
    """[n, PARAM_ROWS, block_out]: what n vectors of parameters (DRAM bytes of any shape) come down to.

    Added before the shift are ``half``, half a step less one, and of the floor's last bit what ``odd`` lets
    through; both are 0 where nothing is shifted away. ``wide`` is a clamp to the accumulator's width.
    """
    params = RequantParams.unpack(raw.reshape(-1, block_out, REQ_CHANNEL_BYTES))
    wide, limit = params.wide != 0, 1 << (acc_width - 1)
    odd = np.minimum(params.shift, 1)
    half = np.left_shift(1, params.shift - odd) - 1
    zero_point = np.where(wide, 0, params.zero_point)
    low, high = np.where(wide, -limit, params.low), np.where(wide, limit - 1, params.high)
    rows = (params.bias, params.multiplier, params.shift, odd, half, zero_point, low, high)
    return np.stack(rows, axis=1)


def requantize(acc: NDArray[Any], params: Params) -> NDArray[np.int64]:
    """``acc`` [..., lanes] requantized; a channel's parameters serve all its lanes, batch by batch.

    ``params`` [..., PARAM_ROWS, block_out]: the leading axes broadcast against those of ``acc``.
    """
    bias, multiplier, shift, odd, half, zero_point, low, high = np.moveaxis(params[..., None, :], -3, 0)
    value: NDArray[np.int64] = acc.reshape(*acc.shape[:-1], -1, params.shape[-1]) + bias
    value *= multiplier
    rounding = value >> shift
    rounding &= odd
    rounding += half
    value += rounding
    value >>= shift
    value += zero_point
    np.maximum(value, low, out=value)
    np.minimum(value, high, out=value)
    return value.reshape(acc.shape)
