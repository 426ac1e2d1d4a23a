"""From a Zynq-7000's AXI3 manager for registers to AXI4-Lite."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, Signature
from vta_hw.axi_lite import AXI_LITE_DATA_BITS, AxiLiteSignature

AXI3_ID_BITS = 12
"""Bits of the IDs of M_AXI_GP0."""
AXI3_LEN_BITS = 4
_BEAT_BYTES = AXI_LITE_DATA_BITS // 8


class Axi3Signature(Signature):
    """AXI3 with 32-bit data as a processing system's manager sees it: what a bridge to registers looks at.

    Members are flat: ``arvalid``, ``araddr``, ... Bursts are incrementing, beats are whole words.
    """

    def __init__(self, addr_width: int) -> None:
        self.addr_width = addr_width
        address = {"id": AXI3_ID_BITS, "addr": addr_width, "len": AXI3_LEN_BITS, "valid": 1}
        outputs = {f"{channel}{name}": width for channel in ("ar", "aw") for name, width in address.items()}
        outputs |= {"wdata": AXI_LITE_DATA_BITS, "wstrb": _BEAT_BYTES, "wlast": 1, "wvalid": 1, "bready": 1}
        inputs = {"arready": 1, "awready": 1, "wready": 1, "bid": AXI3_ID_BITS, "bresp": 2, "bvalid": 1}
        inputs |= {"rid": AXI3_ID_BITS, "rdata": AXI_LITE_DATA_BITS, "rresp": 2, "rlast": 1, "rvalid": 1}
        super().__init__(
            {name: Out(width) for name, width in (outputs | {"rready": 1}).items()}
            | {name: In(width) for name, width in inputs.items()}
        )


class Axi3ToLite(wiring.Component):
    """One burst at a time in each direction, beat by beat.

    A processor's access to registers has one beat; copies by block instructions have up to 16. The worst answer of a
    write burst's beats is the burst's. Latency: a cycle more than the registers' own for each beat. Nothing is
    taken during reset.
    """

    def __init__(self, addr_width: int) -> None:
        super().__init__({"ps": In(Axi3Signature(addr_width)), "lite": Out(AxiLiteSignature(addr_width))})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        self._elaborate_read(m)
        self._elaborate_write(m)
        return m

    def _elaborate_read(self, m: Module) -> None:
        ps, lite = self.ps, self.lite
        address, left = Signal.like(lite.araddr), Signal(AXI3_LEN_BITS)
        with m.FSM(name="read"):
            with m.State("IDLE"):
                m.d.comb += ps.arready.eq(~ResetSignal())
                m.d.sync += [ps.rid.eq(ps.arid), address.eq(ps.araddr), left.eq(ps.arlen)]
                with m.If(ps.arvalid):
                    m.next = "ASK"
            with m.State("ASK"):
                m.d.comb += [lite.arvalid.eq(1), lite.araddr.eq(address)]
                with m.If(lite.arready):
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += [
                    ps.rvalid.eq(lite.rvalid),
                    lite.rready.eq(ps.rready),
                    ps.rdata.eq(lite.rdata),
                    ps.rresp.eq(lite.rresp),
                    ps.rlast.eq(left == 0),
                ]
                with m.If(lite.rvalid & ps.rready):
                    m.d.sync += [left.eq(left - 1), address.eq(address + _BEAT_BYTES)]
                    m.next = "ASK"
                    with m.If(left == 0):
                        m.next = "IDLE"

    def _elaborate_write(self, m: Module) -> None:
        ps, lite = self.ps, self.lite
        address = Signal.like(lite.awaddr)
        data, strobes, last = Signal.like(lite.wdata), Signal.like(lite.wstrb), Signal()
        address_sent, data_sent = Signal(), Signal()
        m.d.comb += [lite.awaddr.eq(address), lite.wdata.eq(data), lite.wstrb.eq(strobes)]
        with m.FSM(name="write"):
            with m.State("IDLE"):
                m.d.comb += ps.awready.eq(~ResetSignal())
                m.d.sync += [ps.bid.eq(ps.awid), address.eq(ps.awaddr), ps.bresp.eq(0)]
                with m.If(ps.awvalid):
                    m.next = "BEAT"
            with m.State("BEAT"):
                m.d.comb += ps.wready.eq(1)
                m.d.sync += [data.eq(ps.wdata), strobes.eq(ps.wstrb), last.eq(ps.wlast)]
                m.d.sync += [address_sent.eq(0), data_sent.eq(0)]
                with m.If(ps.wvalid):
                    m.next = "PASS"
            with m.State("PASS"):
                m.d.comb += [lite.awvalid.eq(~address_sent), lite.wvalid.eq(~data_sent), lite.bready.eq(1)]
                with m.If(lite.awready):
                    m.d.sync += address_sent.eq(1)
                with m.If(lite.wready):
                    m.d.sync += data_sent.eq(1)
                with m.If(lite.bvalid):
                    m.d.sync += [
                        address.eq(address + _BEAT_BYTES),
                        ps.bresp.eq(Mux(lite.bresp > ps.bresp, lite.bresp, ps.bresp)),
                    ]
                    m.next = "BEAT"
                    with m.If(last):
                        m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += ps.bvalid.eq(1)
                with m.If(ps.bready):
                    m.next = "IDLE"
