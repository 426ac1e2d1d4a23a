"""What goes between dispatch and a unit: instructions with their index, and tokens."""

from __future__ import annotations

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from vta_arch.isa import INSN_BITS

INDEX_BITS = 32
"""Bits of an instruction's index in the stream."""


def insn_stream() -> stream.Signature:
    """Instructions on their way to a unit, each with its index in the stream: payload ``insn`` and ``index``."""
    return stream.Signature(data.StructLayout({"insn": INSN_BITS, "index": INDEX_BITS}))


class TokenPort(wiring.Signature):
    """One neighbour's pair of dependency queues, from the unit's side."""

    def __init__(self) -> None:
        super().__init__({"pop": Out(1), "available": In(1), "push": Out(1), "full": In(1)})
