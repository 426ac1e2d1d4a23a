"""Keeps the order of accumulator accesses between the engines of the compute unit, bank by bank."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

LOADS = 2
"""LOADs of accumulators under way, one waiting for its data behind another."""
GEMM_SLOTS = 2
"""GEMM instructions under way: one in the loop, one before or behind it in the pipeline."""


class _Entry:
    """An instruction under way: the banks that it may still touch.

    An instruction that declared one bank is known to stay there once its first step has shown which.
    """

    def __init__(self, name: str) -> None:
        self.valid = Signal(name=f"{name}_valid")
        self.declared = Signal(name=f"{name}_declared", reset_less=True)
        self.known = Signal(name=f"{name}_known", reset_less=True)
        self.bank = Signal(name=f"{name}_bank", reset_less=True)

    def touches(self, bank: Value) -> Value:
        """Whether it may still touch ``bank``."""
        return self.valid & (~self.declared | ~self.known | (self.bank == bank))

    def begin(self, m: Module, declared: Value) -> None:
        m.d.sync += [self.valid.eq(1), self.declared.eq(declared), self.known.eq(0)]

    def step(self, m: Module, bank: Value) -> None:
        """A step in ``bank`` is executed: the first one makes the bank known."""
        with m.If(~self.known):
            m.d.sync += [self.known.eq(1), self.bank.eq(bank)]

    def violates(self, bank: Value) -> Value:
        """Whether a step in ``bank`` breaks its declaration."""
        return self.declared & self.known & (self.bank != bank)


class BankOrder(wiring.Component):
    """Holds back what must not overtake older instructions of the other engines.

    ``*_issue`` pulses when an instruction goes to an engine, ``*_done`` when its last write has landed.
    A step of GEMM or ALU may go on (``gemm_go``, ``alu_go``) when no older instruction of another engine may
    still touch its banks. A LOAD ACC is issued only when ``load_go``, beside another one only when no GEMM or ALU
    instruction came between them: then all LOADs under way are older than those. Everything else is the engines'
    own affair: GEMM forwards its sums, the ALU waits for its own results.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "gemm_issue": In(1),
                "gemm_declared": In(1),
                "gemm_room": Out(1),
                "gemm_bank": In(1),
                "gemm_step": In(1),
                "gemm_last": In(1),
                "gemm_go": Out(1),
                "gemm_done": In(1),
                "alu_issue": In(1),
                "alu_declared": In(1),
                "alu_banks": In(2),
                "alu_step": In(1),
                "alu_go": Out(1),
                "alu_done": In(1),
                "load_banks": In(2),
                "load_go": Out(1),
                "load_issue": In(1),
                "load_done": In(1),
                "bank_error": Out(2),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        gemms = [_Entry(f"gemm{n}") for n in range(GEMM_SLOTS)]
        alu = _Entry("alu")
        loads, behind, load_banks = Signal(range(LOADS + 1)), Signal(), Signal(2)
        loading, loaded = loads != 0, self.load_done & (loads == 1)
        # Slots are used in turn: the next to be issued, the one in the loop, the oldest.
        following, front, oldest = (Signal(range(GEMM_SLOTS), name=n) for n in ("following", "front", "oldest"))
        gemm_done = [self.gemm_done & (oldest == n) for n in range(GEMM_SLOTS)]

        errors = []
        gemm_waits, older_alu, older_load = [], [], []
        for number, gemm in enumerate(gemms):
            issued = self.gemm_issue & (following == number)
            at_front = front == number
            with m.If(gemm_done[number]):
                m.d.sync += gemm.valid.eq(0)
            with m.If(self.gemm_step & at_front):
                gemm.step(m, self.gemm_bank)
            with m.If(issued):
                gemm.begin(m, self.gemm_declared)
            errors.append(self.gemm_step & at_front & gemm.violates(self.gemm_bank))
            older_alu.append(self._older(m, f"gemm{number}_alu", issued, alu.valid, self.alu_done))
            older_load.append(self._older(m, f"gemm{number}_load", issued, loading, loaded))
            gemm_waits.append(
                at_front
                & (
                    (older_alu[-1] & alu.touches(self.gemm_bank))
                    | (older_load[-1] & load_banks.bit_select(self.gemm_bank, 1))
                )
            )
        for pulse, slot in (
            (self.gemm_issue, following),
            (self.gemm_last, front),
            (self.gemm_done, oldest),
        ):
            with m.If(pulse):
                m.d.sync += slot.eq(slot + 1)

        alu_waits = self._elaborate_alu(m, alu, gemms, gemm_done, loading, loaded, load_banks, errors)
        m.d.sync += [
            loads.eq(loads + self.load_issue - self.load_done),
            behind.eq(loading & ~loaded & (behind | self.gemm_issue | self.alu_issue)),
        ]
        with m.If(self.load_issue):
            m.d.sync += load_banks.eq(Mux(loading & ~loaded, load_banks, 0) | self.load_banks)
        conflicts = [entry.touches(bank) & self.load_banks[bank] for entry in (*gemms, alu) for bank in range(2)]
        m.d.comb += [
            self.gemm_room.eq(~Mux(following, gemms[1].valid, gemms[0].valid)),
            self.gemm_go.eq(~Cat(*gemm_waits).any()),
            self.alu_go.eq(~alu_waits),
            self.load_go.eq((~loading | (~behind & (loads != LOADS))) & ~Cat(*conflicts).any()),
        ]
        m.d.sync += self.bank_error.eq(Cat(Cat(*errors[:-1]).any(), errors[-1]))
        return m

    def _older(self, m: Module, name: str, issued: Value, other: Value, done: Value) -> Signal:
        """Set while ``other``, under way when this instruction was issued, is not done."""
        older = Signal(name=f"older_{name}")
        with m.If(issued):
            m.d.sync += older.eq(other & ~done)
        with m.Elif(done):
            m.d.sync += older.eq(0)
        return older

    def _elaborate_alu(
        self,
        m: Module,
        alu: _Entry,
        gemms: list[_Entry],
        gemm_done: list[Value],
        loading: Value,
        loaded: Value,
        load_banks: Signal,
        errors: list[Value],
    ) -> Value:
        """The ALU's one entry; returns whether its step must wait."""
        with m.If(self.alu_done):
            m.d.sync += alu.valid.eq(0)
        both = self.alu_banks.all()
        with m.If(self.alu_step):
            alu.step(m, self.alu_banks[1])
        with m.If(self.alu_issue):
            alu.begin(m, self.alu_declared)
        errors.append(self.alu_step & ((alu.declared & both) | alu.violates(self.alu_banks[1])))
        waits = []
        for number, gemm in enumerate(gemms):
            older = self._older(m, f"alu_gemm{number}", self.alu_issue, gemm.valid, gemm_done[number])
            waits += [older & gemm.touches(bank) & self.alu_banks[bank] for bank in range(2)]
        older = self._older(m, "alu_load", self.alu_issue, loading, loaded)
        waits.append(older & (load_banks & self.alu_banks).any())
        return Cat(*waits).any()
