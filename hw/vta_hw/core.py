"""The accelerator without its bus wrapper: fetch, the three units, and the run they make."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped
from vta_arch.config import VTAConfig
from vta_arch.isa import INSN_BITS
from vta_arch.registers import BASE_MEMORIES, DEADLOCK_CYCLES, Errors

from .axi import ReadSignature, WriteSignature
from .compute import ComputeUnit
from .dispatch import Dispatch
from .fetch import Fetch
from .load import LoadUnit
from .read_arbiter import ReadArbiter
from .store import StoreUnit
from .tokens import TokenQueue

QUEUE_DEPTH = 512
"""Instructions that wait for each unit: one block RAM column each, and as many as upstream's."""


class Core(wiring.Component):
    """Runs the stream of ``insn_count`` instructions at ``insn_address`` from ``start`` to ``done``.

    ``errors`` is sticky from ``start`` on. ``waiting`` names the units that wait for tokens, and keeps
    what it was at ``done``. Without any progress for DEADLOCK_CYCLES the run ends with an error. All bus
    transfers are complete at ``done``, and queues and tokens are empty after it.
    """

    def __init__(self, cfg: VTAConfig) -> None:
        self._cfg = cfg
        address = cfg.axi_addr_width
        super().__init__(
            {
                "start": In(1),
                "insn_count": In(32),
                "insn_address": In(address),
                **{name.lower(): In(address) for name in BASE_MEMORIES.values()},
                "done": Out(1),
                "errors": Out(len(Errors)),
                "waiting": Out(3),
                "read_bus": Out(ReadSignature(address, cfg.axi_data_width)),
                "write_bus": Out(WriteSignature(address, cfg.axi_data_width)),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        cfg = self._cfg
        self._clear = ResetInserter(self.done)
        m.submodules.load = load = LoadUnit(cfg)
        m.submodules.compute = compute = ComputeUnit(cfg)
        m.submodules.store = store = StoreUnit(cfg)
        m.submodules.fetch = fetch = self._clear(Fetch(cfg))
        m.submodules.dispatch = dispatch = self._clear(Dispatch(cfg))
        connect(m, fetch.insns, dispatch.insns)
        connect(m, compute.inp, load.inp)
        connect(m, compute.wgt, load.wgt)
        connect(m, store.bus, flipped(self.write_bus))
        connect(m, store.acc, compute.store)
        m.d.comb += [
            fetch.start.eq(self.start),
            fetch.stop.eq(dispatch.finish_seen),
            fetch.address.eq(self.insn_address),
            fetch.count.eq(self.insn_count),
            dispatch.start.eq(self.start),
            dispatch.count.eq(self.insn_count),
            store.acc_ready.eq(compute.store_ready),
            load.inp_base.eq(self.base_inp),
            load.wgt_base.eq(self.base_wgt),
            compute.uop_base.eq(self.base_uop),
            compute.acc_base.eq(self.base_acc),
            store.base.eq(self.base_out),
            load.clear.eq(self.done),
            compute.clear.eq(self.done),
            store.clear.eq(self.done),
        ]
        empty = self._elaborate_queues(m, dispatch, {"load": load, "compute": compute, "store": store})
        self._elaborate_tokens(m, load, compute, store)
        self._elaborate_reads(m, [fetch.bus, load.inp_bus, load.wgt_bus, *compute.buses()])
        self._elaborate_run(m, fetch, dispatch, (load, compute, store), empty)
        return m

    def _elaborate_queues(self, m: Module, dispatch: Dispatch, units: dict[str, wiring.Component]) -> Signal:
        """An instruction queue before each unit; returns whether all are empty."""
        levels = []
        for name, unit in units.items():
            queue = self._clear(SyncFIFOBuffered(width=INSN_BITS, depth=QUEUE_DEPTH))
            m.submodules[f"{name}_queue"] = queue
            port = getattr(dispatch, name)
            m.d.comb += [
                queue.w_data.eq(port.payload),
                queue.w_en.eq(port.valid),
                port.ready.eq(queue.w_rdy),
                unit.insns.payload.eq(queue.r_data),
                unit.insns.valid.eq(queue.r_rdy),
                queue.r_en.eq(unit.insns.ready),
            ]
            levels.append(queue.level)
        empty = Signal()
        m.d.comb += empty.eq(~Cat(*levels).any())
        return empty

    def _elaborate_tokens(self, m: Module, load: LoadUnit, compute: ComputeUnit, store: StoreUnit) -> None:
        """The four dependency queues."""
        links = {
            "load_to_compute": (load.next, compute.prev),
            "compute_to_load": (compute.prev, load.next),
            "compute_to_store": (compute.next, store.prev),
            "store_to_compute": (store.prev, compute.next),
        }
        for name, (giver, taker) in links.items():
            m.submodules[name] = queue = self._clear(TokenQueue())
            m.d.comb += [
                queue.push.eq(giver.push),
                giver.full.eq(queue.full),
                queue.pop.eq(taker.pop),
                taker.available.eq(queue.available),
            ]

    def _elaborate_reads(self, m: Module, buses: list[wiring.PureInterface]) -> None:
        m.submodules.reads = arbiter = ReadArbiter(
            clients=len(buses), addr_width=self._cfg.axi_addr_width, data_width=self._cfg.axi_data_width
        )
        for number, bus in enumerate(buses):
            connect(m, bus, getattr(arbiter, f"client{number}"))
        connect(m, arbiter.bus, flipped(self.read_bus))

    def _elaborate_run(
        self,
        m: Module,
        fetch: Fetch,
        dispatch: Dispatch,
        units: tuple[LoadUnit, ComputeUnit, StoreUnit],
        empty: Signal,
    ) -> None:
        """When the run is over, and with which errors."""
        load, compute, store = units
        running, finished = Signal(), Signal()
        quiet = Signal(range(DEADLOCK_CYCLES + 1))
        stuck = Signal()
        waiting = Cat(unit.waiting for unit in units)
        busy = Cat(unit.busy for unit in units).any()
        m.d.comb += [
            stuck.eq(quiet == DEADLOCK_CYCLES),
            self.done.eq(running & fetch.idle & ((finished & empty) | stuck)),
        ]
        with m.If(~running | busy | ~fetch.idle | (dispatch.insns.valid & dispatch.insns.ready)):
            m.d.sync += quiet.eq(0)
        with m.Elif(~stuck):
            m.d.sync += quiet.eq(quiet + 1)
        with m.If(self.start):
            m.d.sync += [running.eq(1), finished.eq(0), self.errors.eq(0)]
        with m.Elif(self.done):
            m.d.sync += running.eq(0)
        with m.Elif(compute.finished):
            m.d.sync += finished.eq(1)

        causes = {
            Errors.INDEX_RANGE: load.range_error | compute.range_error | store.range_error,
            Errors.UNKNOWN_OPCODE: dispatch.opcode_error | compute.opcode_error,
            Errors.UNKNOWN_MEMORY: compute.memory_error,
            Errors.AXI_READ: fetch.bus_error | load.bus_error | compute.bus_error,
            Errors.AXI_WRITE: store.bus_error,
            Errors.ONE_BANK: compute.bank_error,
            Errors.DEADLOCK: self.done & stuck & waiting.any(),
            Errors.NO_FINISH: self.done & stuck & dispatch.exhausted,
        }
        for bit, cause in causes.items():
            with m.If(cause):
                m.d.sync += self.errors[int(bit).bit_length() - 1].eq(1)
        held = Signal(3)
        with m.If(self.done):
            m.d.sync += held.eq(waiting)
        m.d.comb += self.waiting.eq(waiting)
        with m.If(~running):
            m.d.comb += self.waiting.eq(held)
