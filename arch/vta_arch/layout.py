"""Tensor layouts: how activations, weights and biases stand in the accelerator's memory.

An activation [N, C, H, W] becomes tiles [N/batch, C/block, H, W, batch, block]; a weight
[O, I, KH, KW] becomes tiles [O/block_out, I/block_in, KH, KW, block_out, block_in]. Channels and
batch are padded with zeros to whole tiles. Elements below 8 bits are packed, element 0 lowest.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)


def ceil_div(value: int, step: int) -> int:
    """value / step rounded up."""
    return -(-value // step)


def rows_of_images(values: NDArray[T], images: int, batch: int) -> NDArray[T]:
    """The rows of a tensor that belong to the first ``images`` of a ``batch``, each of which has as many.

    A tensor may have several rows an image ([N, C, H, W] made [N * C, H * W]). Where rows belong to no image (a number,
    a tensor of constants) these are all.
    """
    return values[: len(values) * images // batch] if values.ndim and len(values) % batch == 0 else values


def pack_bits(values: NDArray[np.integer], width: int) -> NDArray[np.uint8]:
    """Elements as bytes, little-endian, ``width`` bits each (1, 2, 4, 8, 16 or 32).

    A value's low ``width`` bits are taken. The last axis must fill whole bytes; the result is flat.
    """
    if width >= 8:
        kind = np.dtype(f"<u{width // 8}")
        wide = np.ascontiguousarray(values).astype(np.int64) & ((1 << width) - 1)
        return wide.astype(kind).reshape(-1).view(np.uint8)
    per_byte = 8 // width
    groups = (values.astype(np.int64) & ((1 << width) - 1)).astype(np.uint8).reshape(-1, per_byte)
    shifts = np.arange(per_byte, dtype=np.uint8) * np.uint8(width)
    packed: NDArray[np.uint8] = np.bitwise_or.reduce(groups << shifts, axis=1).astype(np.uint8)
    return packed


def unpack_bits(data: NDArray[np.uint8], width: int, *, signed: bool) -> NDArray[np.int32]:
    """Elements of ``width`` bits from bytes: a flat int32 array."""
    if width >= 8:
        kinds = {8: "i1", 16: "<i2", 32: "<i4"}
        kind = kinds[width] if signed else kinds[width].replace("i", "u")
        return np.ascontiguousarray(data).view(np.dtype(kind)).astype(np.int32)
    shifts = np.arange(8 // width, dtype=np.uint8) * np.uint8(width)
    values = ((data.reshape(-1, 1) >> shifts) & np.uint8((1 << width) - 1)).reshape(-1).astype(np.int32)
    return np.where(values >= 1 << (width - 1), values - (1 << width), values).astype(np.int32) if signed else values


def pack_weight_bits(values: NDArray[np.integer], width: int) -> NDArray[np.uint8]:
    """Weights as bytes: like :func:`pack_bits`, but a 1-bit weight is 1 for +1 and 0 for -1."""
    return pack_bits((values > 0).astype(np.int64) if width == 1 else values, width)


def unpack_weight_bits(data: NDArray[np.uint8], width: int) -> NDArray[np.int32]:
    """Weights from bytes: a flat int32 array; a 1-bit weight is +1 or -1."""
    if width == 1:
        return unpack_bits(data, 1, signed=False) * 2 - 1
    return unpack_bits(data, width, signed=True)


def tile_activation(x: NDArray[np.integer], batch: int, block: int) -> NDArray[np.integer]:
    """[N, C, H, W] -> [N/batch, C/block, H, W, batch, block], padded with zeros."""
    n, c, h, w = x.shape
    nt, ct = ceil_div(n, batch), ceil_div(c, block)
    if x.strides[1] < x.strides[3]:  # channels stand together: keep them so
        last = np.zeros((nt * batch, h, w, ct * block), dtype=x.dtype)
        last[:n, :, :, :c] = x.transpose(0, 2, 3, 1)
        return last.reshape(nt, batch, h, w, ct, block).transpose(0, 4, 2, 3, 1, 5)
    padded = np.zeros((nt * batch, ct * block, h, w), dtype=x.dtype)
    padded[:n, :c] = x
    return padded.reshape(nt, batch, ct, block, h, w).transpose(0, 2, 4, 5, 1, 3)


def untile_activation(tiles: NDArray[np.integer], n: int, c: int) -> NDArray[np.integer]:
    """[N/batch, C/block, H, W, batch, block] -> [n, c, H, W]; padding is dropped."""
    nt, ct, h, w, batch, block = tiles.shape
    return tiles.transpose(0, 4, 1, 5, 2, 3).reshape(nt * batch, ct * block, h, w)[:n, :c]


def tile_weight(w: NDArray[np.integer], block_out: int, block_in: int) -> NDArray[np.integer]:
    """[O, I, KH, KW] -> [O/block_out, I/block_in, KH, KW, block_out, block_in], padded with zeros."""
    o, i, kh, kw = w.shape
    ot, it = ceil_div(o, block_out), ceil_div(i, block_in)
    padded = np.zeros((ot * block_out, it * block_in, kh, kw), dtype=w.dtype)
    padded[:o, :i] = w
    return padded.reshape(ot, block_out, it, block_in, kh, kw).transpose(0, 2, 4, 5, 1, 3)


def tile_channels(values: NDArray[np.integer], batch: int, block: int) -> NDArray[np.integer]:
    """[C] -> accumulator vectors [C/block, batch, block], the same in every batch row, padded with zeros."""
    ct = ceil_div(len(values), block)
    padded = np.zeros(ct * block, dtype=values.dtype)
    padded[: len(values)] = values
    return np.repeat(padded.reshape(ct, 1, block), batch, axis=1)
