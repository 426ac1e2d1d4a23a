"""Shares the read channels of one AXI4 port among several clients."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from .axi import ReadSignature

MAX_OUTSTANDING_READS = 16
"""Bursts requested and not yet answered."""
CLIENT_BITS = 3
"""Bits of a client's number."""


class ReadArbiter(wiring.Component):
    """Round robin over the clients' requests; data return in the order of the requests.

    A client must accept its data without waiting for another client, since data of all clients queue
    up behind one another. Latency: one cycle for requests, none for data. ``idle`` is high while no
    burst is outstanding. ``asks`` is the client of the request at ``bus``, ``beats`` has a bit for each client:
    a beat of its data was taken.
    """

    def __init__(self, *, clients: int, addr_width: int, data_width: int) -> None:
        self._clients = clients
        signature = ReadSignature(addr_width, data_width)
        super().__init__(
            {**{f"client{n}": In(signature) for n in range(clients)}, "bus": Out(signature)}
            | {"idle": Out(1), "asks": Out(CLIENT_BITS), "beats": Out(clients)}
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        clients = [getattr(self, f"client{n}") for n in range(self._clients)]
        m.submodules.owners = owners = SyncFIFO(
            width=range(self._clients).stop.bit_length(), depth=MAX_OUTSTANDING_READS
        )
        chosen, previous = Signal(range(self._clients)), Signal(range(self._clients))
        self._choose(m, [client.ar.valid for client in clients], previous, chosen)

        free = ~self.bus.ar.valid | self.bus.ar.ready
        accept = Signal()
        m.d.comb += [
            accept.eq(free & owners.w_rdy & Cat(client.ar.valid for client in clients).any()),
            owners.w_en.eq(accept),
            owners.w_data.eq(chosen),
        ]
        with m.If(free):
            m.d.sync += self.bus.ar.valid.eq(accept)
        with m.If(accept):
            m.d.sync += previous.eq(chosen)
            with m.Switch(chosen):
                for number, client in enumerate(clients):
                    with m.Case(number):
                        m.d.comb += client.ar.ready.eq(1)
                        m.d.sync += self.bus.ar.payload.eq(client.ar.payload)

        with m.Switch(owners.r_data):
            for number, client in enumerate(clients):
                m.d.comb += client.r.payload.eq(self.bus.r.payload)
                with m.Case(number):
                    m.d.comb += [
                        client.r.valid.eq(self.bus.r.valid & owners.r_rdy),
                        self.bus.r.ready.eq(client.r.ready & owners.r_rdy),
                        self.beats[number].eq(self.bus.r.valid & self.bus.r.ready),
                    ]
        m.d.comb += [
            owners.r_en.eq(self.bus.r.valid & self.bus.r.ready & self.bus.r.payload.last),
            self.idle.eq(~owners.r_rdy),
            self.asks.eq(previous),
        ]
        return m

    def _choose(self, m: Module, requests: list[Signal], previous: Signal, chosen: Signal) -> None:
        """The first request after the client that was served last."""
        with m.Switch(previous):
            for number in range(self._clients):
                with m.Case(number):
                    order = [(number + 1 + step) % self._clients for step in range(self._clients)]
                    for candidate in reversed(order):
                        with m.If(requests[candidate]):
                            m.d.comb += chosen.eq(candidate)
