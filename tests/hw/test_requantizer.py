"""The requantizer with its parameter memory, loaded through every bus width, shared by both clients."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from bench import simulate
from numpy.typing import NDArray
from read_memory import ReadMemory
from vta_arch.config import VTAConfig
from vta_arch.encoding import encode, load
from vta_arch.isa import ACC_BANKS, INSN_BITS, Memory
from vta_arch.requant import REQ_FIELDS, RequantParams, requantize
from vta_hw.axi import ReadSignature
from vta_hw.loader import Loader
from vta_hw.requantizer import CLIENTS, Requantizer, RequantPort, vector_parts
from vta_sim.random_configs import named_configs

BASE = 0x100
VECTORS = 5
"""Vectors of each client."""


def configs() -> dict[str, VTAConfig]:
    """Every bus width; lanes fewer and more than the channels of a chunk, and rows that share them."""
    named = named_configs()
    found = {
        "tiny": named["tiny"],
        "int4-bus32": replace(named["int4"], requant_lanes=4),
        "int2-bus64": replace(named["int2"], requant_lanes=4),
        "acc16-bus32": replace(named["acc16"], requant_lanes=2),
        "batch2": named["batch2"],
        "batch2-few": replace(named["batch2"], requant_lanes=2),
        "bus128": replace(
            named["batch2"], batch=1, log_inp_buff=8, log_acc_buff=11, axi_data_width=128, requant_lanes=4
        ),
        "bus512": replace(named["unsigned"], block_out=8, requant_lanes=1),
        "one-lane-acc16": replace(named["acc16"], axi_data_width=512, requant_lanes=1),
    }
    return {name: replace(cfg, log_req_depth=3, extensions=cfg.extensions | {"requant"}) for name, cfg in found.items()}


class Loaded(wiring.Component):
    """A loader of parameters and the requantizer that it fills."""

    def __init__(self, cfg: VTAConfig) -> None:
        self._cfg = cfg
        self.loader = Loader(cfg, Memory.REQ)
        super().__init__(
            {
                "start": In(1),
                "insn": In(INSN_BITS),
                "bus": Out(ReadSignature(cfg.axi_addr_width, cfg.axi_data_width)),
                "clients": In(RequantPort(cfg)).array(CLIENTS),
                "banks": In(cfg.acc_elem_bits).array(ACC_BANKS),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.loader = loader = self.loader
        m.submodules.dut = dut = Requantizer(self._cfg, chunk_bytes=loader.chunk_bytes)
        connect(m, loader.bus, flipped(self.bus))
        connect(m, loader.write, dut.write)
        for number in range(CLIENTS):
            connect(m, flipped(self.clients[number]), dut.clients[number])
        m.d.comb += Cat(dut.banks).eq(Cat(self.banks))
        m.d.comb += [loader.start.eq(self.start), loader.insn.eq(self.insn), loader.base.eq(BASE)]
        return m


def random_vectors(cfg: VTAConfig, rng: np.random.Generator, count: int) -> RequantParams:
    """Parameters of ``count`` vectors, one for each channel; low may be above high."""
    shape = (count, cfg.block_out)
    values = {f.name: rng.integers(f.min, f.max, shape, endpoint=True) for f in REQ_FIELDS.values()}
    values["shift"] = rng.integers(20, 50, shape)
    return RequantParams(**values)


async def fill(ctx: Any, dut: Loaded, ram: ReadMemory, insns: list[int]) -> None:
    """Runs LOADs one after the other."""
    while insns or ctx.get(dut.loader.busy):
        ctx.set(dut.start, bool(insns))
        ctx.set(dut.insn, insns[0] if insns else 0)
        ram.drive(ctx, dut.bus)
        await ctx.delay(1e-9)
        if insns and ctx.get(dut.loader.ready):
            insns.pop(0)
        ram.observe(ctx, dut.bus)
        await ctx.tick()
    ctx.set(dut.start, 0)
    await ctx.tick().repeat(2)


class Client:
    """Asks at random for some vectors and collects their parts."""

    def __init__(self, cfg: VTAConfig, rng: np.random.Generator, wishes: list[tuple[int, int]], eager: float) -> None:
        self.wishes, self.found = list(wishes), list[int]()
        self.cycles: list[int] = []
        self._width = cfg.requant_width * cfg.acc_width
        self._rng, self._eager = rng, eager
        self._value: int | None = None
        self._bank, self._parts, self._vector = 0, vector_parts(cfg), 0

    def drive(self, ctx: Any, port: Any, banks: Any) -> None:
        """Its vector appears in a random bank, in which nobody else reads."""
        asks = bool(self.wishes) and self._rng.random() < self._eager
        ctx.set(port.ask, asks)
        ctx.set(port.index, self.wishes[0][1] if asks else 0)
        if self._value is not None:
            ctx.set(banks[self._bank], self._value)

    def observe(self, ctx: Any, port: Any, cycle: int) -> None:
        """The vector appears for the cycle after ``taken`` only."""
        self._value = None
        taken = ctx.get(port.go) and self._rng.random() < max(self._eager, 0.7)
        ctx.set(port.taken, taken)
        if taken:
            self._value, self._bank = self.wishes.pop(0)[0], int(self._rng.integers(ACC_BANKS))
            ctx.set(port.bank, self._bank)
            self.cycles.append(cycle)
        part = ctx.get(port.part)
        if part:
            place = part.bit_length() - 1
            self._vector |= ctx.get(port.data) << (place * self._width)
            if place == self._parts - 1:
                self.found.append(self._vector)
                self._vector = 0


def pack(cfg: VTAConfig, values: NDArray[np.int64]) -> int:
    mask = (1 << cfg.acc_width) - 1
    return sum((int(value) & mask) << (n * cfg.acc_width) for n, value in enumerate(values.ravel()))


EAGER = [*((name, 0.4) for name in configs()), ("tiny", 1.0), ("batch2-few", 1.0), ("bus128", 1.0)]


@pytest.mark.parametrize(("name", "eager"), EAGER)
def test_both_clients(name: str, eager: float) -> None:
    """Parameters come by LOADs with padding, which makes zeros of some; results are those of the contract."""
    cfg = configs()[name]
    rng = np.random.default_rng([len(name), int(eager * 10)])
    stored = random_vectors(cfg, rng, cfg.req_depth)
    contents = bytes(BASE) + stored.pack().tobytes()
    ram = ReadMemory(contents, cfg.axi_data_width // 8, latency=7, stall=0.2, rng=random.Random(name))
    whole = {"y_size": 1, "x_size": cfg.req_depth, "x_stride": cfg.req_depth}
    padded = {"sram_base": 2, "dram_base": 5, "y_size": 2, "x_size": 1, "x_stride": 1, "x_pad_0": 1, "y_pad_1": 0}
    insns = [encode(cfg, load(cfg, Memory.REQ, **fields)) for fields in (whole, padded)]
    places = np.array([0, 1, -1, 5, -1, 6, 6, 7])
    raw = np.where((places >= 0)[:, None, None], stored.pack()[places], 0).astype(np.uint8)
    params = RequantParams.unpack(raw)

    clients, wanted = [], []
    for _ in range(CLIENTS):
        accs = rng.integers(cfg.acc_min, cfg.acc_max, (VECTORS, cfg.batch, cfg.block_out), endpoint=True)
        accs >>= rng.integers(0, cfg.acc_width, accs.shape)
        indices = rng.integers(0, cfg.req_depth, VECTORS)
        wanted.append([pack(cfg, requantize(a, params[n], cfg.acc_width)) for a, n in zip(accs, indices, strict=True)])
        wishes = [(pack(cfg, a), int(n)) for a, n in zip(accs, indices, strict=True)]
        clients.append(Client(cfg, rng, wishes, eager))
    dut = Loaded(cfg)

    async def bench(ctx: Any) -> None:
        await fill(ctx, dut, ram, list(insns))
        cycle = 0
        while any(len(client.found) < VECTORS for client in clients):
            for bank in dut.banks:
                ctx.set(bank, int(rng.integers(1 << 62)))
            for number, client in enumerate(clients):
                client.drive(ctx, dut.clients[number], dut.banks)
            await ctx.delay(1e-9)
            for number, client in enumerate(clients):
                client.observe(ctx, dut.clients[number], cycle)
            await ctx.tick()
            for number in range(CLIENTS):
                ctx.set(dut.clients[number].taken, 0)
            cycle += 1

    simulate(dut, bench, 8000)
    assert [client.found for client in clients] == wanted
    if eager == 1.0:
        # In turns, without a gap, and the same number for each.
        takes = sorted(clients[0].cycles + clients[1].cycles)
        assert np.diff(takes).tolist() == [vector_parts(cfg)] * (2 * VECTORS - 1)
        assert abs(np.median(clients[0].cycles) - np.median(clients[1].cycles)) <= vector_parts(cfg)
