"""Requantizes accumulator vectors for STORE and for the ALU operation: one set of lanes for both."""

from __future__ import annotations

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from vta_arch.config import VTAConfig
from vta_arch.isa import ACC_BANKS

from .held import held_unless
from .layouts import requant_layout
from .req_memory import WORD_BITS, ReqMemory, memory_channels
from .requant_lane import RequantLane, delayed

CLIENTS = 2
"""The store unit and the ALU."""


def vector_parts(cfg: VTAConfig) -> int:
    """Cycles that the lanes take for a vector."""
    return cfg.batch * cfg.block_out // cfg.requant_width


class RequantPort(wiring.Signature):
    """A client's side of the requantizer.

    ``ask`` wants a turn. With ``go`` the client may read a vector and says so by ``taken``, with the ``bank`` that it
    reads and the ``index`` of its parameters; the bank must show the vector one cycle later, for that cycle. Its parts
    come Requantizer.LATENCY cycles after ``taken`` and in the cycles that follow, each with its bit of ``part``, and
    cannot be refused.
    """

    def __init__(self, cfg: VTAConfig) -> None:
        super().__init__(
            {
                "ask": Out(1),
                "go": In(1),
                "taken": Out(1),
                "bank": Out(range(ACC_BANKS)),
                "index": Out(cfg.log_req_depth),
                "part": In(vector_parts(cfg)),
                "data": In(cfg.requant_width * cfg.acc_width),
            }
        )


class Requantizer(wiring.Component):
    """``requant_width`` elements a cycle, the vectors of both clients without a gap; they take turns when both ask.

    ``banks`` are what the accumulators' banks show. Who takes a turn keeps the lanes for :func:`vector_parts` cycles.
    LATENCY cycles from ``taken`` to the first part. ``write`` fills the parameters, at any time; they are read from
    the cycle after ``taken`` on.
    """

    LATENCY = RequantLane.LATENCY + 3

    def __init__(self, cfg: VTAConfig, *, chunk_bytes: int) -> None:
        self._cfg = cfg
        self._parts = vector_parts(cfg)
        self._parameters = ReqMemory(cfg, chunk_bytes=chunk_bytes)
        super().__init__(
            {
                "clients": In(RequantPort(cfg)).array(CLIENTS),
                "banks": In(cfg.acc_elem_bits).array(ACC_BANKS),
                "write": In(self._parameters.write.signature.flip()),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        cfg, clients = self._cfg, list(self.clients)
        self._elaborate_turns(m, clients)
        came = Signal(CLIENTS)
        index, bank = Signal(cfg.log_req_depth, reset_less=True), Signal(range(ACC_BANKS), reset_less=True)
        m.d.sync += came.eq(Cat(client.taken for client in clients))
        for client in clients:
            with m.If(client.taken):
                m.d.sync += [index.eq(client.index), bank.eq(client.bank)]
        # Lanes see a vector two cycles after it came, so that they can be told by a register.
        under_way, works = [came], Signal()
        results = self._elaborate_lanes(m, index, bank, came.any(), works)

        for number, client in enumerate(clients):
            due = came[number]
            for cycle in range(1, self.LATENCY):
                register = Signal(name=f"due_{number}_{cycle}")
                m.d.sync += register.eq(due)
                due = register
                under_way.append(due)
            m.d.comb += [client.part[0].eq(due), client.data.eq(results)]
            m.d.sync += client.part[1:].eq(client.part)
            under_way.append(client.part)
        m.d.sync += works.eq(Cat(*under_way).any())
        return m

    def _elaborate_turns(self, m: Module, clients: list[wiring.PureInterface]) -> None:
        """``go`` depends on no ``taken``: whether a client can take its turn may depend on the other's."""
        turn = Signal(range(CLIENTS))
        left = Signal(range(max(2, self._parts)))
        with m.If(left == 0):
            for number, client in enumerate(clients):
                other = clients[1 - number]
                m.d.comb += client.go.eq(client.ask & (~other.ask | (turn == number)))
                with m.If(client.go):
                    m.d.sync += turn.eq(1 - number)
                with m.If(client.taken):
                    m.d.sync += left.eq(self._parts - 1)
        with m.Else():
            m.d.sync += left.eq(left - 1)

    def _elaborate_lanes(self, m: Module, index: Value, bank: Value, came: Value, works: Value) -> Value:
        """All lanes, fed with the first part of what ``bank`` shows when a vector ``came``, and then with the others;
        they hold still unless ``works``. Returns their results."""
        cfg, parameters = self._cfg, self._parameters
        m.submodules.parameters = parameters
        connect(m, flipped(self.write), parameters.write)
        channels = memory_channels(cfg)
        groups = cfg.block_out // channels
        following, number = (Signal(range(max(2, self._parts)), name=n) for n in ("following_part", "part_number"))
        m.d.comb += number.eq(Mux(came, 0, following))
        m.d.sync += following.eq(number + 1)
        row = Cat(number[: (groups - 1).bit_length()], index)
        m.d.comb += [
            parameters.early_row.eq(row),
            parameters.late_row.eq(delayed(m, row, RequantLane.LIMITS_AT)),
        ]
        accs = self._elaborate_parts(m, bank, came)
        blank = delayed(m, parameters.blank, RequantLane.LIMITS_AT + 1)
        results, held = [], held_unless(m, works)
        for element in range(cfg.requant_width):
            lane = RequantLane(cfg)
            m.submodules[f"lane{element}"] = held(lane)
            channel = element % channels
            early, late = (delayed(m, side[channel], 1) for side in (parameters.early, parameters.late))
            words = Cat(early, late, Const(0, WORD_BITS))
            fields = data.View(requant_layout(), words)
            m.d.comb += lane.acc.eq(accs.word_select(element, cfg.acc_width).as_signed())
            m.d.comb += [getattr(lane, name).eq(fields[name]) for name, _ in requant_layout()]
            m.d.comb += lane.blank.eq(blank)
            results.append(lane.result)
        return Cat(*results)

    def _elaborate_parts(self, m: Module, bank: Value, came: Value) -> Value:
        """The parts of what ``bank`` shows when a vector ``came``: the first one two cycles later, then the others.

        Each place that they come from is 0, by its registers' resets, while another has its turn. So the choice among
        them falls together with the addition of the bias: one LUT of five inputs a bit.
        """
        width = self._cfg.requant_width * self._cfg.acc_width
        sources: list[Value] = []
        for number, shown in enumerate(self.banks):
            shows = came & (bank == number)
            first = Signal(width, name=f"first_{number}", reset_less=True)
            m.d.sync += first.eq(Mux(shows, shown[:width], 0))
            sources.append(delayed(m, first, 1))
            if self._parts > 1:
                # The vector before has just left when another one comes.
                rest = Signal(self._cfg.acc_elem_bits - width, name=f"rest_{number}", reset_less=True)
                m.d.sync += rest.eq(Mux(shows, shown[width:], rest >> width))
                sources.append(delayed(m, rest[:width], 2))
        return reduce(or_, sources)
