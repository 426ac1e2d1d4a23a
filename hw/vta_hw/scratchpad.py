"""On-chip memories: the banked accumulators and the plain scratchpads."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out


class ReadPort(wiring.Signature):
    """Read port of a scratchpad, from the user's side: data one cycle after ``en``."""

    def __init__(self, addr_width: int, bits: int) -> None:
        super().__init__({"en": Out(1), "addr": Out(addr_width), "data": In(bits)})


class WritePort(wiring.Signature):
    """Write port, from the user's side: ``mask`` enables each granule of the element."""

    def __init__(self, addr_width: int, bits: int, granules: int) -> None:
        super().__init__({"mask": Out(granules), "addr": Out(addr_width), "data": Out(bits)})


class Scratchpad(wiring.Component):
    """One memory with one write and one read port. Reading what is written in the same cycle
    gives the old contents; contents start as zero bits."""

    def __init__(self, *, bits: int, depth: int, granules: int) -> None:
        self._bits, self._depth, self._granules = bits, depth, granules
        addr_width = max(1, (depth - 1).bit_length())
        super().__init__({"read": In(ReadPort(addr_width, bits)), "write": In(WritePort(addr_width, bits, granules))})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.memory = memory = Memory(shape=self._bits, depth=self._depth, init=[])
        read = memory.read_port()
        write = memory.write_port(granularity=self._bits // self._granules)
        m.d.comb += [
            read.en.eq(self.read.en),
            read.addr.eq(self.read.addr),
            self.read.data.eq(read.data),
            write.en.eq(self.write.mask),
            write.addr.eq(self.write.addr),
            write.data.eq(self.write.data),
        ]
        return m


class AccScratchpad(wiring.Component):
    """The accumulators: two banks chosen by the top address bit, each with one read and one write.

    ``read`` (GEMM and ALU) always succeeds. ``store`` reads when ``read`` leaves its bank free:
    ``store_ready`` says that the address was taken. Data come one cycle after the address.
    """

    def __init__(self, *, bits: int, depth: int, granules: int) -> None:
        self._bits, self._depth, self._granules = bits, depth, granules
        self._addr_width = (depth - 1).bit_length()
        super().__init__(
            {
                "read": In(ReadPort(self._addr_width, bits)),
                "store": In(ReadPort(self._addr_width, bits)),
                "store_ready": Out(1),
                "write": In(WritePort(self._addr_width, bits, granules)),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        top = self._addr_width - 1
        taken = Cat(self.read.en & (self.read.addr[top] == bank) for bank in range(2))
        m.d.comb += self.store_ready.eq(~taken.bit_select(self.store.addr[top], 1))
        read_bank, store_bank = Signal(), Signal()
        with m.If(self.read.en):
            m.d.sync += read_bank.eq(self.read.addr[top])
        with m.If(self.store.en & self.store_ready):
            m.d.sync += store_bank.eq(self.store.addr[top])

        banks = []
        for number in range(2):
            bank = Scratchpad(bits=self._bits, depth=max(2, self._depth // 2), granules=self._granules)
            m.submodules[f"bank{number}"] = bank
            banks.append(bank)
            wanted = self.store.en & (self.store.addr[top] == number)
            writes = self.write.addr[top] == number
            m.d.comb += [
                bank.read.en.eq(taken[number] | wanted),
                bank.read.addr.eq(Mux(taken[number], self.read.addr[:top], self.store.addr[:top])),
                bank.write.mask.eq(Mux(writes, self.write.mask, 0)),
                bank.write.addr.eq(self.write.addr[:top]),
                bank.write.data.eq(self.write.data),
            ]
        m.d.comb += [
            self.read.data.eq(Mux(read_bank, banks[1].read.data, banks[0].read.data)),
            self.store.data.eq(Mux(store_bank, banks[1].read.data, banks[0].read.data)),
        ]
        return m
