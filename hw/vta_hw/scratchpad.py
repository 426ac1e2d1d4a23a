"""On-chip memories: the banked accumulators and the plain scratchpads."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from vta_arch.isa import ACC_BANKS


class ReadPort(wiring.Signature):
    """Read port of a scratchpad, from the user's side: data one cycle after ``en``."""

    def __init__(self, addr_width: int, bits: int) -> None:
        super().__init__({"en": Out(1), "addr": Out(addr_width), "data": In(bits)})


class WritePort(wiring.Signature):
    """Write port, from the user's side: ``mask`` enables each granule of the element."""

    def __init__(self, addr_width: int, bits: int, granules: int) -> None:
        super().__init__({"mask": Out(granules), "addr": Out(addr_width), "data": Out(bits)})


class BankedReadPort(wiring.Signature):
    """Read port of a memory with two banks, chosen by the top address bit: ``banks`` have the data of that bank one
    cycle after ``en``. What the other bank shows is for others.

    So a reader can choose among banks and whatever else it takes data from in one go: see :func:`bank_read`.
    """

    def __init__(self, addr_width: int, bits: int) -> None:
        super().__init__({"en": Out(1), "addr": Out(addr_width), "banks": In(bits).array(ACC_BANKS)})


def bank_read(m: Module, port: wiring.PureInterface) -> Signal:
    """The bank in which the data of the latest read are."""
    bank = Signal(range(ACC_BANKS), name="bank_read", reset_less=True)
    with m.If(port.en):
        m.d.sync += bank.eq(port.addr[-1])
    return bank


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

    The compute unit sees to it that its ``readers`` and ``writers`` never use the same bank in the same
    cycle. ``store`` reads when they leave its bank free: ``store_ready`` says that the address was taken.
    Data come one cycle after the address. Vectors have ``parts``, whose number divides ``granules``: those that one of
    the first writers writes one by one.
    """

    def __init__(self, *, bits: int, depth: int, granules: int, readers: int, writers: int, parts: int) -> None:
        self._bits, self._depth, self._granules, self._parts = bits, depth, granules, parts
        self._addr_width = (depth - 1).bit_length()
        read, write = BankedReadPort(self._addr_width, bits), WritePort(self._addr_width, bits, granules)
        super().__init__(
            {
                "read": In(read).array(readers),
                "store": In(read),
                "store_ready": Out(1),
                "write": In(write).array(writers),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        top = self._addr_width - 1
        for number in range(ACC_BANKS):
            bank = Scratchpad(bits=self._bits, depth=max(2, self._depth // ACC_BANKS), granules=self._granules)
            m.submodules[f"bank{number}"] = bank
            taken = Cat(port.en & (port.addr[top] == number) for port in self.read)
            stores = self.store.addr[top] == number
            m.d.comb += [bank.read.en.eq(taken.any()), bank.read.addr.eq(self.store.addr[:top])]
            for index, port in enumerate(self.read):
                with m.If(taken[index]):
                    m.d.comb += bank.read.addr.eq(port.addr[:top])
            with m.If(stores & ~taken.any()):
                m.d.comb += [self.store_ready.eq(1), bank.read.en.eq(self.store.en)]
            self._elaborate_write(m, bank, number)
            m.d.comb += [port.banks[number].eq(bank.read.data) for port in (*self.read, self.store)]
        return m

    def _elaborate_write(self, m: Module, bank: Scratchpad, number: int) -> None:
        """One of the writers: with its number as a number, one LUT a bit chooses among four. The last writer, of many
        granules, has its turn whenever the others write nothing, so that nobody waits for its mask.

        Each part has a number of its own, by the masks of the part. Who writes parts gives the same data to all, and a
        mapper that finds the same choice in several parts makes three LUTs for two bits.
        """
        top = self._addr_width - 1
        *others, last = self.write
        here = [port.addr[top] == number for port in others]
        with m.If(last.addr[top] == number):
            m.d.comb += bank.write.mask.eq(last.mask)
        for own, port in zip(here, others, strict=True):
            with m.If(own & port.mask.any()):
                m.d.comb += bank.write.mask.eq(port.mask)
        writer = self._writer(m, [port.mask.any() & own for port, own in zip(others, here, strict=True)], f"{number}")
        m.d.comb += bank.write.addr.eq(_numbered(writer, [port.addr[:top] for port in self.write]))
        granules, bits = self._granules // self._parts, self._bits // self._parts
        for part in range(self._parts):
            writes = [port.mask.word_select(part, granules).any() & own for port, own in zip(others, here, strict=True)]
            writer = self._writer(m, writes, f"{number}_{part}")
            words = [port.data.word_select(part, bits) for port in self.write]
            m.d.comb += bank.write.data.word_select(part, bits).eq(_numbered(writer, words))

    def _writer(self, m: Module, writes: list[Value], name: str) -> Signal:
        """The number of the one that ``writes``, or of the last writer."""
        writer = Signal(range(len(self.write)), name=f"writer_{name}")
        # No more than one of them writes: their numbers, as what they differ in from the last one's, need no order.
        changes = [Mux(own, index ^ len(writes), 0) for index, own in enumerate(writes)]
        m.d.comb += writer.eq(reduce(or_, changes) ^ len(writes))
        return writer


def _numbered(number: Value, values: Sequence[Value]) -> Value:
    """The value of that ``number``. Chosen bit by bit: a mapper that sees cases looks through the number, at more
    signals than a LUT has inputs."""
    for bit in number:
        pairs = zip(values[::2], [*values[1::2], values[-1]], strict=False)
        values = [Mux(bit, odd, even) for even, odd in pairs]
    (value,) = values
    return value
