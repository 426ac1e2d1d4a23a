"""The AXI4-Lite port of the control registers, as an Amaranth interface signature."""

from __future__ import annotations

from amaranth.lib.wiring import In, Out, Signature

AXI_LITE_DATA_BITS = 32
RESP_OKAY = 0


class AxiLiteSignature(Signature):
    """AXI4-Lite with 32-bit data, seen from the manager; a subordinate takes ``In(AxiLiteSignature(...))``.

    Members are flat and have the names of the AXI specification in lower case, so that an instance called
    ``s_axi_control`` flattens to the port names that Vivado recognises (``s_axi_control_awaddr``, ...).

    Args:
        addr_width: bits of ``awaddr`` and ``araddr``, 1 to 64. ValueError otherwise.
    """

    def __init__(self, addr_width: int) -> None:
        if not isinstance(addr_width, int) or not 1 <= addr_width <= 64:
            raise ValueError(f"addr_width = {addr_width!r}: must be an integer from 1 to 64")
        self.addr_width = addr_width
        super().__init__(
            {
                "awaddr": Out(addr_width),
                "awprot": Out(3),
                "awvalid": Out(1),
                "awready": In(1),
                "wdata": Out(AXI_LITE_DATA_BITS),
                "wstrb": Out(AXI_LITE_DATA_BITS // 8),
                "wvalid": Out(1),
                "wready": In(1),
                "bresp": In(2),
                "bvalid": In(1),
                "bready": Out(1),
                "araddr": Out(addr_width),
                "arprot": Out(3),
                "arvalid": Out(1),
                "arready": In(1),
                "rdata": In(AXI_LITE_DATA_BITS),
                "rresp": In(2),
                "rvalid": In(1),
                "rready": Out(1),
            }
        )
