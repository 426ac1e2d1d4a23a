"""The read arbiter: every request reaches the bus once, and its data return to the client that asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from amaranth.hdl import Cat, Signal, Value
from prover import Bench
from vta_hw import read_arbiter
from vta_hw.read_arbiter import ReadArbiter

ADDR_WIDTH, DATA_WIDTH = 2, 8
OUTSTANDING = 2
"""A small limit: the proof follows every order of requests and answers to beyond it."""


class TaggedRequest:
    """One arbitrary request that some client makes, and how many bursts are answered before it.

    The bus model answers in the order of the requests, with bursts of any length.
    """

    def __init__(self, bench: Bench, dut: ReadArbiter, count: int) -> None:
        m, self._bench, self._dut = bench.m, bench, dut
        ar, r = dut.bus.ar, dut.bus.r
        self.client = bench.choice(2, "client")
        bench.assume(self.client < count)
        self._clients = clients = [getattr(dut, f"client{number}") for number in range(count)]
        accepted = Cat(client.ar.valid & client.ar.ready for client in clients)
        tag, self.tagged, self.answered = Signal(), Signal(), Signal()
        bench.free(tag)
        payload = Signal(len(Value.cast(ar.payload)))
        pending, before = Signal(range(4)), Signal(range(OUTSTANDING + 3))
        self.open, self.ahead = Signal(range(OUTSTANDING + 3)), Signal(range(OUTSTANDING + 3))
        sent, ended = ar.valid & ar.ready, r.valid & r.ready & r.payload.last
        m.d.sync += [
            pending.eq(pending + accepted.any() - sent),
            self.open.eq(self.open + sent - ended),
        ]
        begins = tag & ~self.tagged & accepted.bit_select(self.client, 1)
        with m.If(begins):
            m.d.sync += [self.tagged.eq(1), before.eq(pending - sent), self.ahead.eq(self.open + pending - ended)]
            with m.Switch(self.client):
                for number, client in enumerate(clients):
                    with m.Case(number):
                        m.d.sync += payload.eq(client.ar.payload)
        with m.Elif(self.tagged & ~self.answered):
            with m.If(sent & (before != 0)):
                m.d.sync += before.eq(before - 1)
            with m.If(ended):
                m.d.sync += [self.ahead.eq(self.ahead - 1), self.answered.eq(self.ahead == 0)]
        on_bus = Signal()
        m.d.sync += on_bus.eq(begins | (on_bus & ~(sent & (before == 0))))
        bench.check(accepted.any() == (accepted & -accepted == accepted) & accepted.any())
        bench.check((pending != 0) == ar.valid)
        bench.check(pending <= 1)
        bench.check(~(on_bus & ar.valid & (before == 0)) | (Value.cast(ar.payload) == payload))

    def data_reach_their_client(self) -> None:
        """Data of the tagged burst are offered to its client, and to nobody else."""
        bench, dut = self._bench, self._dut
        its_turn = self.tagged & ~self.answered & (self.ahead == 0) & dut.bus.r.valid
        for number, client in enumerate(self._clients):
            port = client.r
            mine = self.client == number
            bench.check(~its_turn | (port.valid == mine))
            bench.check(~(its_turn & mine) | (port.ready == dut.bus.r.ready))
            bench.check(~port.valid | (Value.cast(port.payload) == Value.cast(dut.bus.r.payload)))


def _arbiter(clients: int) -> tuple[Bench, ReadArbiter]:
    """A bench whose clients keep their requests until they are taken."""
    dut = ReadArbiter(clients=clients, addr_width=ADDR_WIDTH, data_width=DATA_WIDTH)
    bench = Bench(dut)
    for number in range(clients):
        port = getattr(dut, f"client{number}")
        bench.free(port.ar.valid, port.ar.payload, port.r.ready)
        bench.assume(bench.stable(port.ar.valid, port.ar.ready, port.ar.payload, f"ar{number}"))
    bench.free(dut.bus.ar.ready, dut.bus.r.valid, dut.bus.r.payload)
    return bench, dut


def test_data_reach_the_client_that_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_arbiter, "MAX_OUTSTANDING_READS", OUTSTANDING)
    clients = 2
    bench, dut = _arbiter(clients)
    tagged = TaggedRequest(bench, dut, clients)
    bench.assume(~dut.bus.r.valid | (tagged.open != 0))
    bench.check(tagged.open <= OUTSTANDING)
    bench.check(~dut.idle | (tagged.open == 0))
    tagged.data_reach_their_client()
    bench.reached(tagged.open == OUTSTANDING)
    bench.reached(tagged.answered)
    bench.prove(tmp_path, depth=9)


def test_requests_are_stable_and_none_starves(tmp_path: Path) -> None:
    """A waiting client is passed by each other client at most once; so for any number of cycles."""
    clients = 3
    bench, dut = _arbiter(clients)
    m, previous = bench.m, bench.probe(clients.bit_length(), "previous")
    bench.check(bench.stable(dut.bus.ar.valid, dut.bus.ar.ready, dut.bus.ar.payload, "bus_ar"))
    bench.check(previous < clients)
    ports = [getattr(dut, f"client{number}").ar for number in range(clients)]
    for number, port in enumerate(ports):
        # The order in which the others come before this one, from the client served last.
        for other, rival in enumerate(ports):
            if other == number:
                continue
            passed = Signal(2, name=f"passed_{number}_{other}")
            with m.If(~port.valid | port.ready):
                m.d.sync += passed.eq(0)
            with m.Elif(rival.valid & rival.ready):
                m.d.sync += passed.eq(passed + 1)
            between = [(other + step) % clients for step in range((number - other) % clients)]
            came = Cat(previous == place for place in between).any()
            bench.check((passed == 0) | ((passed == 1) & came))
    bench.reached(dut.bus.ar.valid & ~dut.bus.ar.ready)
    bench.prove(tmp_path, depth=3, induction=True)
