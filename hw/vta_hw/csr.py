"""The control registers: an AXI4-Lite subordinate made from the register map of ``vta_arch.registers``."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib.wiring import Component, In, Out
from vta_arch.config import VTAConfig
from vta_arch.registers import (
    BASE_MEMORIES,
    BYTE_COUNTERS,
    CONTROL_ADDRESS_BITS,
    COUNTER_BITS,
    COUNTERS,
    COUNTERS_OFFSET,
    HW_VERSION,
    IDENT,
    NO_INSN,
    OFFSETS,
    REGISTERS,
    Access,
    Control,
    Errors,
    Irq,
    Status,
)

from .axi_lite import AXI_LITE_DATA_BITS, RESP_OKAY, AxiLiteSignature

CYCLE_BITS = 64


def _bit(flag: Control | Irq | Status) -> int:
    return int(flag).bit_length() - 1


class ControlRegisters(Component):
    """Registers of the accelerator, and the state of a run.

    A run begins with a write of CONTROL.START while none is under way: ``start`` pulses one cycle, STATUS.RUNNING
    rises with it, STATUS.DONE and the cycle counter clear. It ends with ``done``. CYCLES counts the cycles from
    the ``start`` pulse to the ``done`` pulse, both included. A write of CONTROL.RESET pulses ``reset``: a run ends
    without DONE. START is ignored while the core is ``resetting``.

    The port takes AW and W in any order, one write and one read at a time: a write is carried out in the cycle
    after both halves have come and answered in the next; a read is answered in the cycle after its address.
    Responses wait for their READY without limit and hold back only their own direction. ``wstrb`` is honoured;
    the two lowest address bits are ignored; unmapped addresses read 0 and swallow writes, with OKAY.

    Ports:
        bus: AXI4-Lite, 32-bit data.
        start: one-cycle pulse; address and count ports are stable from then on unless software rewrites them.
        reset: one-cycle pulse.
        watchdog, dma_base, dma_limit, insn_count, insn_address: as programmed, and likewise
        base_uop, base_wgt, base_inp, base_acc, base_out.
        done: one-cycle pulse at the end of a run.
        resetting: STATUS.RESETTING.
        errors: sticky error bits, in the order of ``vta_arch.registers.Errors``; the core clears them at ``start``.
        error_insn: index of the instruction to blame.
        counter_select, counter: the event counter of that position in ``COUNTERS``, answered in the same cycle.
        waiting: units that wait for a token, bit 0 load, bit 1 compute, bit 2 store.
        interrupt: level, high while an enabled event is pending in IRQ_STATUS.
    """

    def __init__(self, cfg: VTAConfig) -> None:
        self._cfg = cfg
        address = cfg.axi_addr_width
        super().__init__(
            {
                "bus": In(AxiLiteSignature(CONTROL_ADDRESS_BITS)),
                "start": Out(1),
                "reset": Out(1),
                "watchdog": Out(32),
                "dma_base": Out(64),
                "dma_limit": Out(64),
                "insn_count": Out(32),
                "insn_address": Out(address),
                **{name.lower(): Out(address) for name in BASE_MEMORIES.values()},
                "done": In(1),
                "resetting": In(1),
                "errors": In(len(Errors)),
                "error_insn": In(32, init=NO_INSN),
                "counter_select": Out(range(len(COUNTERS))),
                "counter": In(COUNTER_BITS),
                "waiting": In(3),
                "interrupt": Out(1),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        storage = {
            register.name: Signal(AXI_LITE_DATA_BITS, name=register.name.lower())
            for register in REGISTERS
            if register.access is Access.RW
        }
        irq_status = Signal(len(Irq))
        write, offset, data, strobes = self._write_channel(m)
        # Bits of bytes that are not written are no events.
        events = data & Cat(strobe.replicate(8) for strobe in strobes)
        self._writes(m, write, offset, data, strobes, events, storage, irq_status)
        running, finished, cycles = self._run_state(m, write, offset, events, irq_status)
        status = Signal(AXI_LITE_DATA_BITS)
        m.d.comb += [
            status[_bit(Status.RUNNING)].eq(running),
            status[_bit(Status.DONE)].eq(finished),
            status[_bit(Status.ERROR)].eq(self.errors.any()),
            status[_bit(Status.RESETTING)].eq(self.resetting),
            Cat(status[_bit(bit)] for bit in (Status.WAIT_LOAD, Status.WAIT_COMPUTE, Status.WAIT_STORE)).eq(
                self.waiting
            ),
        ]
        values: dict[str, Value | int] = {
            "IDENT": IDENT,
            "VERSION": HW_VERSION,
            "CAPABILITY": self._cfg.capabilities,
            "FINGERPRINT_LO": self._cfg.fingerprint() & 0xFFFFFFFF,
            "FINGERPRINT_HI": self._cfg.fingerprint() >> 32,
            "CONTROL": 0,
            "STATUS": status,
            "ERRORS": self.errors,
            "IRQ_STATUS": irq_status,
            "ERROR_INSN": self.error_insn,
            "CYCLES_LO": cycles[:32],
            "CYCLES_HI": cycles[32:],
            **storage,
        }
        self._read_channel(m, values)
        self._outputs(m, storage, irq_status)
        return m

    def _write_channel(self, m: Module) -> tuple[Signal, Signal, Signal, Signal]:
        """Collect AW and W. Returns the pulse, byte offset, data and byte strobes of a write to carry out."""
        bus = self.bus
        have_address, have_data = Signal(), Signal()
        offset = Signal(CONTROL_ADDRESS_BITS)
        data, strobes = Signal(AXI_LITE_DATA_BITS), Signal(AXI_LITE_DATA_BITS // 8)
        write = Signal()
        m.d.comb += [
            bus.awready.eq(~have_address),
            bus.wready.eq(~have_data),
            bus.bresp.eq(RESP_OKAY),
            write.eq(have_address & have_data & ~bus.bvalid),
        ]
        with m.If(bus.awvalid & bus.awready):
            m.d.sync += [have_address.eq(1), offset.eq(bus.awaddr)]
        with m.If(bus.wvalid & bus.wready):
            m.d.sync += [have_data.eq(1), data.eq(bus.wdata), strobes.eq(bus.wstrb)]
        with m.If(write):
            m.d.sync += [have_address.eq(0), have_data.eq(0), bus.bvalid.eq(1)]
        with m.If(bus.bvalid & bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        return write, offset, data, strobes

    def _writes(
        self,
        m: Module,
        write: Signal,
        offset: Signal,
        data: Signal,
        strobes: Signal,
        events: Value,
        storage: dict[str, Signal],
        irq_status: Signal,
    ) -> None:
        with m.If(write), m.Switch(offset[2:]):
            for register in REGISTERS:
                if register.access is Access.RW:
                    # Enables for bytes: registers need no logic in front of their data.
                    with m.Case(register.offset >> 2):
                        for byte, strobe in enumerate(strobes):
                            with m.If(strobe):
                                m.d.sync += storage[register.name].word_select(byte, 8).eq(data.word_select(byte, 8))
                elif register.access is Access.W1C:
                    with m.Case(register.offset >> 2):
                        m.d.sync += irq_status.eq(irq_status & ~events)

    def _run_state(
        self, m: Module, write: Signal, offset: Signal, data: Value, irq_status: Signal
    ) -> tuple[Signal, Signal, Signal]:
        """START, RUNNING, DONE and the cycle counter. An event wins over the clearing of its interrupt bit."""
        running, finished, cycles = Signal(), Signal(), Signal(CYCLE_BITS)
        controls = write & (offset[2:] == OFFSETS["CONTROL"] >> 2)
        starts = controls & data[_bit(Control.START)] & ~self.reset & ~self.resetting
        resets = controls & data[_bit(Control.RESET)]
        m.d.sync += [self.start.eq(0), self.reset.eq(resets)]
        with m.If(resets):
            m.d.sync += [running.eq(0), finished.eq(0)]
        with m.Elif(running):
            m.d.sync += cycles.eq(cycles + 1)
            with m.If(self.done):
                m.d.sync += [running.eq(0), finished.eq(1), irq_status[_bit(Irq.DONE)].eq(1)]
        with m.Elif(starts):
            m.d.sync += [self.start.eq(1), running.eq(1), finished.eq(0), cycles.eq(0)]
        return running, finished, cycles

    def _read_channel(self, m: Module, values: dict[str, Value | int]) -> None:
        bus = self.bus
        m.d.comb += [bus.arready.eq(~bus.rvalid), bus.rresp.eq(RESP_OKAY)]
        # Counters are pairs that fill an aligned block, read through one port.
        block = (8 * len(COUNTERS) - 1).bit_length()
        in_counters = bus.araddr[block:] == COUNTERS_OFFSET >> block
        counts_beats = Cat(self.counter_select == list(COUNTERS).index(name) for name in BYTE_COUNTERS).any()
        counter = Signal(64)
        m.d.comb += [
            self.counter_select.eq(bus.araddr[3:block]),
            counter.eq(Mux(counts_beats, self.counter * (self._cfg.axi_data_width // 8), self.counter)),
        ]
        with m.If(bus.rvalid & bus.rready):
            m.d.sync += bus.rvalid.eq(0)
        with m.If(bus.arvalid & bus.arready):
            m.d.sync += [bus.rvalid.eq(1), bus.rdata.eq(0)]
            with m.Switch(bus.araddr[2:]):
                for name, value in values.items():
                    with m.Case(OFFSETS[name] >> 2):
                        m.d.sync += bus.rdata.eq(value)
            with m.If(in_counters):
                m.d.sync += bus.rdata.eq(Mux(bus.araddr[2], counter[32:], counter[:32]))

    def _outputs(self, m: Module, storage: dict[str, Signal], irq_status: Signal) -> None:
        m.d.comb += [
            self.insn_count.eq(storage["INSN_COUNT"]),
            self.watchdog.eq(storage["WATCHDOG"]),
            self.interrupt.eq((irq_status & storage["IRQ_ENABLE"]).any()),
        ]
        for name in ("INSN_ADDRESS", "DMA_BASE", "DMA_LIMIT", *BASE_MEMORIES.values()):
            pair = Cat(storage[f"{name}_LO"], storage[f"{name}_HI"])
            m.d.comb += getattr(self, name.lower()).eq(pair)
