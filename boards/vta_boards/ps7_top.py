"""The top of a Zynq-7000 build without the vendor's block design: the PS7 primitive and the accelerator.

The ports of the processing system are AXI3: bursts of at most 16 beats, which the accelerator keeps to, and write data
with the ID of their address, which is always 0 here. Widths are those of UG585.
"""

from __future__ import annotations

from amaranth.back import verilog
from amaranth.hdl import (
    Cat,
    ClockDomain,
    ClockSignal,
    Const,
    DomainRenamer,
    Instance,
    Module,
    ResetSignal,
    Signal,
    Value,
)
from amaranth.lib import wiring
from vta_arch.config import VTAConfig
from vta_arch.registers import CONTROL_ADDRESS_BITS
from vta_hw.axi import MAX_BURST_BEATS
from vta_hw.top import CONTROL_PREFIX, MEMORY_PREFIX, VTATop

from .gp_bridge import Axi3ToLite

PS7_TOP = "vta_ps7_top"
AXI3_BEATS = 16
HP_DATA_BITS = 64
HP_ID_BITS = 6
HP_ADDRESS_BITS = 32
INTERRUPTS = 20
"""Bits of IRQF2P; the first 16 are the shared interrupts, bit 0 the one that a device tree calls 29."""
_OUT_OF_MEMORY_PORT = {"addr": HP_ADDRESS_BITS, "len": 4, "size": 2, "burst": 2, "cache": 4}
_HP = "SAXIHP0"
_GP = "MAXIGP0"

Ports = dict[str, tuple[str, Value]]
"""Port of the PS7 -> direction as the PS7 sees it ("i" or "o"), and what it is connected to."""


class Ps7Top(wiring.Component):
    """The accelerator between M_AXI_GP0 (registers) and S_AXI_HP0 (memory) of a PS7, on FCLK0. No ports.

    Raises ValueError for a configuration whose memory port a Zynq-7000 does not have; ``vta board build`` has
    checked that before.
    """

    def __init__(self, cfg: VTAConfig) -> None:
        if cfg.axi_data_width > HP_DATA_BITS or MAX_BURST_BEATS > AXI3_BEATS:
            raise ValueError(f"a memory port of {cfg.axi_data_width} bits; S_AXI_HP0 has {HP_DATA_BITS}")
        self._cfg = cfg
        super().__init__({})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.vta = vta = VTATop(self._cfg)
        bridge = Axi3ToLite(CONTROL_ADDRESS_BITS)
        m.submodules.bridge = DomainRenamer("fabric")(bridge)
        clocks, resets = Signal(4), Signal(4)
        self._elaborate_clock(m, clocks, resets, vta)
        for name, member in bridge.lite.signature.members.items():
            inner, outer = getattr(bridge.lite, name), getattr(vta, CONTROL_PREFIX + name)
            m.d.comb += outer.eq(inner) if member.flow == wiring.Out else inner.eq(outer)
        ports: Ports = {
            "FCLKCLK": ("o", clocks),
            "FCLKRESETN": ("o", resets),
            "FCLKCLKTRIGN": ("i", Const(0, 4)),
            "FPGAIDLEN": ("i", Const(1)),
            "IRQF2P": ("i", Cat(vta.interrupt, Const(0, INTERRUPTS - 1))),
            **self._register_port(bridge),
            **self._memory_port(m, vta),
        }
        named = {f"{direction}_{name}": value for name, (direction, value) in ports.items()}
        m.submodules.ps7 = Instance("PS7", a_keep=1, **named)
        return m

    @staticmethod
    def _elaborate_clock(m: Module, clocks: Signal, resets: Signal, vta: VTATop) -> None:
        """FCLK0 on a global buffer as the domain "fabric", its reset through two registers."""
        m.domains.fabric = ClockDomain()
        m.domains.raw = ClockDomain(reset_less=True)
        m.submodules.buffer = Instance("BUFG", i_I=clocks[0], o_O=ClockSignal("fabric"))
        stages = Signal(2)
        m.d.raw += stages.eq(Cat(resets[0], stages[0]))
        m.d.comb += [
            ClockSignal("raw").eq(ClockSignal("fabric")),
            ResetSignal("fabric").eq(~stages[1]),
            vta.aclk.eq(ClockSignal("fabric")),
            vta.aresetn.eq(stages[1]),
        ]

    @staticmethod
    def _register_port(bridge: Axi3ToLite) -> Ports:
        """M_AXI_GP0; the PS7 gives more of an address and of a burst than the bridge looks at."""
        ports: Ports = {f"{_GP}ACLK": ("i", ClockSignal("fabric"))}
        for name, member in bridge.ps.signature.members.items():
            signal = getattr(bridge.ps, name)
            ports[_GP + name.upper()] = ("o" if member.flow == wiring.In else "i", signal)
        for name in ("ARADDR", "AWADDR"):
            low = ports[_GP + name][1]
            ports[_GP + name] = "o", Cat(low, Signal(HP_ADDRESS_BITS - len(low)))
        return ports

    def _memory_port(self, m: Module, vta: VTATop) -> Ports:
        """S_AXI_HP0 from the accelerator's AXI4 manager."""

        def port(name: str) -> Signal:
            found: Signal = getattr(vta, MEMORY_PREFIX + name)
            return found

        ports: Ports = {f"{_HP}ACLK": ("i", ClockSignal("fabric"))}
        for channel in ("ar", "aw"):
            for name, width in _OUT_OF_MEMORY_PORT.items():
                ports[f"{_HP}{channel}{name}".upper()] = "i", _fitted(port(channel + name), width)
            ports[f"{_HP}{channel}valid".upper()] = "i", port(channel + "valid")
            ports[f"{_HP}{channel}ready".upper()] = "o", port(channel + "ready")
            ports[f"{_HP}{channel}id".upper()] = "i", Const(0, HP_ID_BITS)
            ports |= {f"{_HP}{channel}{name}".upper(): ("i", Const(0, width)) for name, width in _QUIET.items()}
        data, strobes = HP_DATA_BITS, HP_DATA_BITS // 8
        ports |= {
            f"{_HP}WDATA": ("i", _fitted(port("wdata"), data)),
            f"{_HP}WSTRB": ("i", _fitted(port("wstrb"), strobes)),
            f"{_HP}WID": ("i", Const(0, HP_ID_BITS)),
            f"{_HP}RDISSUECAP1EN": ("i", Const(0)),
            f"{_HP}WRISSUECAP1EN": ("i", Const(0)),
        }
        for name in ("wvalid", "wlast", "bready", "rready"):
            ports[f"{_HP}{name}".upper()] = "i", port(name)
        for name in ("wready", "bvalid", "bresp", "rvalid", "rlast", "rresp"):
            ports[f"{_HP}{name}".upper()] = "o", port(name)
        read = Signal(data)
        m.d.comb += port("rdata").eq(read)
        return ports | {f"{_HP}RDATA": ("o", read)}


_QUIET = {"lock": 2, "prot": 3, "qos": 4}
"""Inputs of an address channel that stay 0."""


def _fitted(value: Value, width: int) -> Value:
    """``value`` in ``width`` bits; what is cut off is always 0."""
    return value[:width] if len(value) >= width else Cat(value, Const(0, width - len(value)))


def generate_ps7_verilog(cfg: VTAConfig) -> str:
    """Verilog of :class:`Ps7Top`, top ``vta_ps7_top``, with the primitives PS7 and BUFG left to the tools."""
    text: str = verilog.convert(Ps7Top(cfg), name=PS7_TOP, ports=[], emit_src=False, strip_internal_attrs=True)
    return text
