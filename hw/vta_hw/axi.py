"""AXI4 as Amaranth streams: one stream of a struct for each channel.

Fields that this accelerator never varies (id, size, burst type, lock, cache, protection, QoS) are
not carried here; the top adds them as constants.
"""

from __future__ import annotations

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

MAX_BURST_BEATS = 16
"""Beats of the longest burst: what the AXI3 ports of a Zynq-7000 take."""


def address_layout(addr_width: int) -> data.StructLayout:
    """One burst: byte address of its first beat, and beats - 1."""
    return data.StructLayout({"addr": addr_width, "len": 8})


def read_layout(data_width: int) -> data.StructLayout:
    """One beat of read data."""
    return data.StructLayout({"data": data_width, "resp": 2, "last": 1})


def write_layout(data_width: int) -> data.StructLayout:
    """One beat of write data with its byte strobes."""
    return data.StructLayout({"data": data_width, "strb": data_width // 8, "last": 1})


def is_error(resp: data.View) -> object:
    """Whether a two-bit response is SLVERR or DECERR."""
    return resp[1]


class ReadSignature(wiring.Signature):
    """The two read channels, from the manager's side."""

    def __init__(self, addr_width: int, data_width: int) -> None:
        super().__init__(
            {
                "ar": Out(stream.Signature(address_layout(addr_width))),
                "r": In(stream.Signature(read_layout(data_width))),
            }
        )


class WriteSignature(wiring.Signature):
    """The three write channels, from the manager's side."""

    def __init__(self, addr_width: int, data_width: int) -> None:
        super().__init__(
            {
                "aw": Out(stream.Signature(address_layout(addr_width))),
                "w": Out(stream.Signature(write_layout(data_width))),
                "b": In(stream.Signature(data.StructLayout({"resp": 2}))),
            }
        )
