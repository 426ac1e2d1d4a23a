"""The top: control registers and core behind ports with the names that Vivado infers interfaces from."""

from __future__ import annotations

from amaranth.hdl import ClockDomain, ClockSignal, Module, ResetSignal, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from vta_arch.config import VTAConfig
from vta_arch.registers import BASE_MEMORIES, CONTROL_ADDRESS_BITS

from .axi_lite import AxiLiteSignature
from .core import Core
from .csr import ControlRegisters

CONTROL_PREFIX = "s_axi_control_"
MEMORY_PREFIX = "m_axi_gmem_"
ID_BITS = 1
BURST_INCR = 1
CACHE_BUFFERABLE_MODIFIABLE = 0b0011
"""AxCACHE that lets the ports of a Zynq merge and buffer."""


def _address_ports(channel: str, addr_width: int) -> dict[str, wiring.Member]:
    widths = {"id": ID_BITS, "addr": addr_width, "len": 8, "size": 3, "burst": 2, "lock": 1, "cache": 4}
    widths |= {"prot": 3, "qos": 4, "valid": 1}
    return {
        **{f"{MEMORY_PREFIX}{channel}{name}": Out(width) for name, width in widths.items()},
        f"{MEMORY_PREFIX}{channel}ready": In(1),
    }


def _memory_ports(addr_width: int, data_width: int) -> dict[str, wiring.Member]:
    """The AXI4 manager's ports, channel by channel."""
    outputs = {"wdata": data_width, "wstrb": data_width // 8, "wlast": 1, "wvalid": 1, "bready": 1, "rready": 1}
    inputs = {"wready": 1, "bid": ID_BITS, "bresp": 2, "bvalid": 1, "rid": ID_BITS, "rdata": data_width}
    inputs |= {"rresp": 2, "rlast": 1, "rvalid": 1}
    return {
        **_address_ports("aw", addr_width),
        **_address_ports("ar", addr_width),
        **{MEMORY_PREFIX + name: Out(width) for name, width in outputs.items()},
        **{MEMORY_PREFIX + name: In(width) for name, width in inputs.items()},
    }


def top_ports(cfg: VTAConfig) -> dict[str, wiring.Member]:
    """The accelerator's ports by name."""
    control = AxiLiteSignature(CONTROL_ADDRESS_BITS).flip()
    return {
        "aclk": In(1),
        "aresetn": In(1),
        "interrupt": Out(1),
        **{CONTROL_PREFIX + name: member for name, member in control.members.items()},
        **_memory_ports(cfg.axi_addr_width, cfg.axi_data_width),
    }


class VTATop(wiring.Component):
    """The accelerator for a block design: ``aclk``, ``aresetn`` (active low), ``interrupt``, an AXI4-Lite
    subordinate ``s_axi_control`` and an AXI4 manager ``m_axi_gmem``."""

    def __init__(self, cfg: VTAConfig) -> None:
        self._cfg = cfg
        super().__init__(top_ports(cfg))

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.domains.sync = ClockDomain()
        self._elaborate_reset(m)
        m.submodules.registers = registers = ControlRegisters(self._cfg)
        m.submodules.core = self.core = core = Core(self._cfg)
        m.d.comb += [
            ClockSignal().eq(self.aclk),
            self.interrupt.eq(registers.interrupt),
        ]
        for name in ("done", "resetting", "errors", "error_insn", "waiting", "counter"):
            m.d.comb += getattr(registers, name).eq(getattr(core, name))
        commands = ("start", "reset", "watchdog", "dma_base", "dma_limit", "counter_select")
        for name in (*commands, "insn_count", "insn_address", *(name.lower() for name in BASE_MEMORIES.values())):
            m.d.comb += getattr(core, name).eq(getattr(registers, name))
        for name, member in registers.bus.signature.members.items():
            inner, outer = getattr(registers.bus, name), getattr(self, CONTROL_PREFIX + name)
            m.d.comb += inner.eq(outer) if member.flow == In else outer.eq(self._outside_reset(name, inner))
        self._elaborate_addresses(m, core)
        self._elaborate_data(m, core)
        return m

    def _elaborate_reset(self, m: Module) -> None:
        """A register before the reset of everything: no path from the port, and simulators need not look at all
        registers whenever an input changes."""
        m.domains.port = ClockDomain(reset_less=True)
        reset = Signal(init=1)
        m.d.comb += [ClockSignal("port").eq(self.aclk), ResetSignal().eq(reset)]
        m.d.port += reset.eq(~self.aresetn)

    @staticmethod
    def _outside_reset(name: str, value: Value) -> Value:
        """No handshake while the reset, a cycle late, still holds the registers: it would be lost."""
        return value & ~ResetSignal() if name.endswith("ready") else value

    def _port(self, name: str) -> Signal:
        port: Signal = getattr(self, MEMORY_PREFIX + name)
        return port

    def _elaborate_addresses(self, m: Module, core: Core) -> None:
        size = (self._cfg.axi_data_width // 8).bit_length() - 1
        for channel, source in (("aw", core.write_bus.aw), ("ar", core.read_bus.ar)):
            m.d.comb += [
                self._port(f"{channel}valid").eq(source.valid),
                source.ready.eq(self._port(f"{channel}ready")),
                self._port(f"{channel}addr").eq(source.payload.addr),
                self._port(f"{channel}len").eq(source.payload.len),
                self._port(f"{channel}size").eq(size),
                self._port(f"{channel}burst").eq(BURST_INCR),
                self._port(f"{channel}cache").eq(CACHE_BUFFERABLE_MODIFIABLE),
            ]

    def _elaborate_data(self, m: Module, core: Core) -> None:
        write, answer, read = core.write_bus.w, core.write_bus.b, core.read_bus.r
        m.d.comb += [
            self._port("wvalid").eq(write.valid),
            write.ready.eq(self._port("wready")),
            self._port("wdata").eq(write.payload.data),
            self._port("wstrb").eq(write.payload.strb),
            self._port("wlast").eq(write.payload.last),
            answer.valid.eq(self._port("bvalid")),
            self._port("bready").eq(answer.ready),
            answer.payload.resp.eq(self._port("bresp")),
            read.valid.eq(self._port("rvalid")),
            self._port("rready").eq(read.ready),
            read.payload.data.eq(self._port("rdata")),
            read.payload.resp.eq(self._port("rresp")),
            read.payload.last.eq(self._port("rlast")),
        ]
