"""DRAM of the functional device: the whole address space, stored as the pages that were touched."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from vta_arch.errors import DeviceError

PAGE_BITS = 20
PAGE_BYTES = 1 << PAGE_BITS
DEFAULT_LIMIT = 4 << 30
_SPAN_SLACK = 1 << 20

Bytes = NDArray[np.uint8]


class SparseMemory:
    """Bytes at addresses of ``address_bits`` bits. What was never written reads zero.

    Addresses wrap at the end of the address space, as the accelerator's do. Raises DeviceError when
    more than ``limit`` bytes of pages would be held.
    """

    def __init__(self, address_bits: int, limit: int = DEFAULT_LIMIT) -> None:
        self.size = 1 << address_bits
        self._limit = limit
        self._pages: dict[int, Bytes] = {}
        self._blank = np.zeros(PAGE_BYTES, dtype=np.uint8)
        self._blank.setflags(write=False)

    def _page(self, number: int) -> Bytes:
        """The page for writing, made when it is new."""
        page = self._pages.get(number)
        if page is None:
            if (len(self._pages) + 1) * PAGE_BYTES > self._limit:
                raise DeviceError(
                    f"address {number * PAGE_BYTES:#x}: more than {self._limit >> 20} MiB of memory written; "
                    "bring the regions closer together or write less"
                )
            page = self._pages[number] = np.zeros(PAGE_BYTES, dtype=np.uint8)
        return page

    def read(self, address: int, size: int) -> Bytes:
        """``size`` bytes from ``address``; may be a view, do not write to it."""
        address %= self.size
        offset = address & (PAGE_BYTES - 1)
        if offset + size <= PAGE_BYTES:
            return self._pages.get(address >> PAGE_BITS, self._blank)[offset : offset + size]
        result = np.empty(size, dtype=np.uint8)
        done = 0
        while done < size:
            at = (address + done) % self.size
            offset = at & (PAGE_BYTES - 1)
            step = min(PAGE_BYTES - offset, size - done)
            result[done : done + step] = self._pages.get(at >> PAGE_BITS, self._blank)[offset : offset + step]
            done += step
        return result

    def write(self, address: int, data: Bytes) -> None:
        """Write the flat array ``data`` from ``address`` on."""
        done, size = 0, len(data)
        while done < size:
            at = (address + done) % self.size
            offset = at & (PAGE_BYTES - 1)
            step = min(PAGE_BYTES - offset, size - done)
            self._page(at >> PAGE_BITS)[offset : offset + step] = data[done : done + step]
            done += step

    def read_rows(self, address: int, rows: int, row_bytes: int, stride: int) -> Bytes:
        """[rows, row_bytes]: row r starts at ``address + r * stride``; may be a view."""
        span = (rows - 1) * stride + row_bytes
        if span <= 8 * rows * row_bytes + _SPAN_SLACK:
            flat = self.read(address, span)
            return np.ndarray((rows, row_bytes), np.uint8, flat, 0, (stride, 1))
        return np.stack([self.read(address + row * stride, row_bytes) for row in range(rows)])

    def write_rows(self, address: int, data: Bytes, stride: int) -> None:
        """Row r of ``data`` [rows, row_bytes] goes to ``address + r * stride``, in order."""
        rows, row_bytes = data.shape
        address %= self.size
        offset = address & (PAGE_BYTES - 1)
        span = (rows - 1) * stride + row_bytes
        if offset + span <= PAGE_BYTES and stride >= row_bytes:
            page = self._page(address >> PAGE_BITS)
            np.ndarray((rows, row_bytes), np.uint8, page, offset, (stride, 1))[...] = data
            return
        for row in range(rows):
            self.write(address + row * stride, data[row])
