"""The accelerator without its bus wrapper: fetch, the three units, and the run they make."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, ResetInserter, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from vta_arch.config import VTAConfig
from vta_arch.registers import BASE_MEMORIES, COUNTER_BITS, COUNTERS, FATAL, NO_INSN, Errors

from .activity import Activity
from .axi import ReadSignature, WriteSignature
from .compute import ComputeUnit
from .compute_loads import loaded
from .counters import EventCounters
from .dispatch import Dispatch
from .fetch import LOG_INSN_BYTES, Fetch
from .first_error import FirstError
from .guard import BusGuard
from .issue import INDEX_BITS, InsnQueue
from .load import LoadUnit
from .read_arbiter import ReadArbiter
from .run_control import RunControl
from .store import StoreUnit
from .tokens import TokenQueue

_FETCH, _LOAD, _FIRST_OF_COMPUTE = (0,), (1, 2), 3


def readers(cfg: VTAConfig) -> tuple[str, ...]:
    """Byte counter of each client of the read arbiter: fetch, the two of load, and those of compute."""
    return ("READ_INSN", "READ_INP", "READ_WGT", *(f"READ_{name.upper()}" for name in loaded(cfg)))


class Core(wiring.Component):
    """Runs the stream of ``insn_count`` instructions at ``insn_address`` from ``start`` to ``done``.

    ``errors`` is sticky from ``start`` on, ``error_insn`` the index of the first instruction to blame. ``waiting``
    names the units that wait for tokens, and keeps what it was at ``done``. Bus transfers are complete at ``done``,
    unless ``resetting`` stays high, and queues and tokens are empty after it. How runs end: :class:`RunControl`;
    ``reset`` ends one from any state. ``counter`` is the event counter ``counter_select``, in the same cycle.
    """

    def __init__(self, cfg: VTAConfig) -> None:
        self._cfg = cfg
        address = cfg.axi_addr_width
        super().__init__(
            {
                "start": In(1),
                "reset": In(1),
                "insn_count": In(32),
                "insn_address": In(address),
                **{name.lower(): In(address) for name in BASE_MEMORIES.values()},
                "watchdog": In(32),
                "dma_base": In(64),
                "dma_limit": In(64),
                "done": Out(1),
                "resetting": Out(1),
                "errors": Out(len(Errors)),
                "error_insn": Out(INDEX_BITS, init=NO_INSN),
                "waiting": Out(3),
                "counter_select": In(range(len(COUNTERS))),
                "counter": Out(COUNTER_BITS),
                "read_bus": Out(ReadSignature(address, cfg.axi_data_width)),
                "write_bus": Out(WriteSignature(address, cfg.axi_data_width)),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        cfg = self._cfg
        m.submodules.run = self._run = run = RunControl()
        self._clear = ResetInserter(run.clear)
        m.submodules.load = self._load = load = self._clear(LoadUnit(cfg))
        m.submodules.compute = self._compute = compute = self._clear(ComputeUnit(cfg))
        m.submodules.store = self._store = store = self._clear(StoreUnit(cfg))
        m.submodules.fetch = self._fetch = fetch = self._clear(Fetch(cfg))
        m.submodules.dispatch = self._dispatch = dispatch = self._clear(Dispatch(cfg))
        connect(m, fetch.insns, dispatch.insns)
        connect(m, compute.inp, load.inp)
        connect(m, compute.wgt, load.wgt)
        connect(m, store.acc, compute.store)
        if "requant" in cfg.extensions:
            connect(m, store.requant, compute.store_requant)
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
            *(unit.clear.eq(run.clear) for unit in (load, compute, store)),
        ]
        empty = self._elaborate_queues(m)
        self._elaborate_tokens(m)
        self._elaborate_bus(m)
        self._elaborate_run(m, empty)
        self._elaborate_errors(m)
        self._elaborate_counters(m)
        return m

    def observed(self) -> dict[str, dict[str, Value]]:
        """What a timeline shows, by unit; there once all units are elaborated."""
        fetch, dispatch, bus = self._fetch, self._dispatch, self.read_bus
        instructions: dict[str, Value] = {
            "head": dispatch.insns.valid & ~dispatch.finish_seen & ~dispatch.exhausted,
            "index": dispatch.index,
            "issue": dispatch.insns.ready,
            "asking": ~fetch.idle,
            **{f"to_{name}": getattr(dispatch, name).valid for name in ("load", "compute", "store")},
        }
        beats: dict[str, Value] = {"ar_wait": bus.ar.valid & ~bus.ar.ready}
        counted = readers(self._cfg)
        for name in dict.fromkeys(counted):
            mine = Cat(self._reads.beats[number] for number, reader in enumerate(counted) if reader == name)
            beats[name] = mine.any()
        return {
            "run": {"start": self.start, "done": self.done},
            "fetch": instructions,
            "bus": beats,
            "load": self._load.observed,
            "compute": self._compute.observed,
            "store": self._store.observed,
        }

    def _elaborate_queues(self, m: Module) -> Signal:
        """An instruction queue before each unit; returns whether all are empty."""
        queues = []
        for name, unit in {"load": self._load, "compute": self._compute, "store": self._store}.items():
            m.submodules[f"{name}_queue"] = queue = self._clear(InsnQueue())
            connect(m, getattr(self._dispatch, name), queue.given)
            connect(m, queue.insns, unit.insns)
            queues.append(queue)
        empty = Signal()
        m.d.comb += empty.eq(Cat(queue.empty for queue in queues).all())
        return empty

    def _elaborate_tokens(self, m: Module) -> None:
        """The four dependency queues."""
        load, compute, store = self._load, self._compute, self._store
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

    def _elaborate_bus(self, m: Module) -> None:
        """All readers share one port; the guard stands between units and bus."""
        buses = [self._fetch.bus, self._load.inp_bus, self._load.wgt_bus, *self._compute.buses()]
        m.submodules.guard = self._guard = guard = BusGuard(self._cfg)
        m.submodules.reads = self._reads = arbiter = self._clear(
            ReadArbiter(clients=len(buses), addr_width=self._cfg.axi_addr_width, data_width=self._cfg.axi_data_width)
        )
        for number, bus in enumerate(buses):
            connect(m, bus, getattr(arbiter, f"client{number}"))
        connect(m, arbiter.bus, guard.inner_read)
        connect(m, self._store.bus, guard.inner_write)
        connect(m, guard.read, flipped(self.read_bus))
        connect(m, guard.write, flipped(self.write_bus))
        m.d.comb += [
            guard.inner_client.eq(arbiter.asks),
            guard.base.eq(self.dma_base),
            guard.limit.eq(self.dma_limit),
            guard.drain.eq(self._run.draining),
        ]

    def _elaborate_run(self, m: Module, empty: Signal) -> None:
        """When the run is over."""
        run, fetch, dispatch, guard = self._run, self._fetch, self._dispatch, self._guard
        load, compute, store = units = self._load, self._compute, self._store
        finished, handed_on = Signal(), Signal()
        popped = Cat(unit.insns.valid & unit.insns.ready for unit in units)
        with m.If(run.clear):
            m.d.sync += finished.eq(0)
        with m.Elif(compute.finished):
            m.d.sync += finished.eq(1)
        m.d.comb += [
            handed_on.eq(dispatch.insns.valid & dispatch.insns.ready),
            run.start.eq(self.start),
            run.reset.eq(self.reset),
            run.watchdog.eq(self.watchdog),
            run.bus_idle.eq(guard.idle),
            run.ended.eq(fetch.idle & finished & empty & guard.idle & load.idle & store.idle),
            run.active.eq(Cat(*(unit.busy for unit in units), ~fetch.idle, handed_on).any()),
            run.progress.eq(Cat(guard.moved, handed_on, popped, compute.activity.step).any()),
            self.done.eq(run.done),
            self.resetting.eq(run.draining),
        ]
        waiting, held = Cat(unit.waiting for unit in units), Signal(3)
        with m.If(self.done):
            m.d.sync += held.eq(waiting)
        with m.Elif(self.reset):
            m.d.sync += held.eq(0)
        m.d.comb += self.waiting.eq(waiting)
        with m.If(~run.running):
            m.d.comb += self.waiting.eq(held)

    def _elaborate_errors(self, m: Module) -> None:
        """Sticky errors, and who is to blame."""
        run, fetch, dispatch, guard = self._run, self._fetch, self._dispatch, self._guard
        load, compute, store = self._load, self._compute, self._store
        waiting = Cat(load.waiting, compute.waiting, store.waiting)
        causes: dict[Errors, Value] = {
            Errors.INDEX_RANGE: load.range_error | compute.range_error | store.range_error,
            Errors.UNKNOWN_OPCODE: dispatch.opcode_error | compute.opcode_error,
            Errors.UNKNOWN_MEMORY: compute.memory_error,
            Errors.AXI_READ: fetch.bus_error | load.bus_error | compute.bus_error,
            Errors.AXI_WRITE: store.bus_error,
            Errors.ONE_BANK: compute.bank_error,
            Errors.DEADLOCK: run.stuck & waiting.any(),
            Errors.NO_FINISH: run.stuck & dispatch.exhausted,
            Errors.WATCHDOG: run.expired,
            Errors.DMA_WINDOW: guard.read_outside | guard.write_outside,
        }
        with m.If(self.start | self.reset):
            m.d.sync += self.errors.eq(0)
        with m.Elif(run.running):
            for bit, cause in causes.items():
                with m.If(cause):
                    m.d.sync += self.errors[int(bit).bit_length() - 1].eq(1)
        at_once = FATAL & ~Errors.WATCHDOG  # the run control knows about its own watchdog
        m.d.comb += run.fatal.eq(Cat(cause for bit, cause in causes.items() if bit & at_once).any())
        self._elaborate_blame(m)

    def _elaborate_blame(self, m: Module) -> None:
        run, fetch, dispatch, guard = self._run, self._fetch, self._dispatch, self._guard
        load, compute, store = self._load, self._compute, self._store

        def reader(clients: tuple[int, ...]) -> Value:
            return guard.read_outside & Cat(guard.client == number for number in clients).any()

        sources: list[tuple[Value, Value]] = [
            (fetch.bus_error | (run.expired & ~fetch.idle), fetch.index),
            (reader(_FETCH), (guard.address - self.insn_address)[LOG_INSN_BYTES:]),
            (dispatch.opcode_error, dispatch.index),
        ]
        # A unit has several instructions under way, and knows itself which one is to blame.
        of_compute = tuple(range(_FIRST_OF_COMPUTE, len(readers(self._cfg))))
        for unit, clients in ((load, _LOAD), (compute, of_compute)):
            m.d.comb += [unit.outside[place].eq(reader((client,))) for place, client in enumerate(clients)]
        m.d.comb += store.outside.eq(guard.write_outside)
        for unit in (load, compute, store):
            m.d.comb += [unit.stuck.eq(run.stuck), unit.expired.eq(run.expired)]
            sources += [(blamed.fault, blamed.index) for blamed in unit.blamed]
        m.submodules.blame = blame = FirstError(len(sources))
        m.d.comb += [blame.clear.eq(self.start | self.reset), self.error_insn.eq(blame.first)]
        for number, (fault, index) in enumerate(sources):
            m.d.comb += [blame.fault[number].eq(fault & run.running), blame.index[number].eq(index)]

    def _elaborate_counters(self, m: Module) -> None:
        """Why the array waited, and what went over the bus."""
        m.submodules.activity = activity = Activity()
        m.submodules.counters = counters = EventCounters(len(COUNTERS))
        connect(m, self._compute.activity, activity.compute)
        load, store, names = self._load, self._store, list(COUNTERS)
        m.d.comb += [
            activity.running.eq(self.start | self._run.running),
            Cat(activity.loads_inp, activity.loads_wgt).eq(load.loads),
            activity.stores.eq(store.busy),
            counters.start.eq(self.start),
            counters.events.eq(activity.events),
            counters.select.eq(self.counter_select),
            self.counter.eq(counters.value),
        ]
        sent = store.bus.w.valid & store.bus.w.ready
        counted = readers(self._cfg)
        for name in dict.fromkeys(counted):
            mine = Cat(self._reads.beats[number] for number, reader in enumerate(counted) if reader == name)
            m.d.comb += counters.events[names.index(name)].eq(mine.any())
        m.d.comb += counters.events[names.index("WRITE_OUT")].eq(sent)
