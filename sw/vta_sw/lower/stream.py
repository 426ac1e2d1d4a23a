"""An instruction stream: hazards in, dependency tokens out.

Instructions are added in an order that would be right if they ran one after the other, each with the
resources (slots of scratchpads) that it reads and writes. Between two units a hazard becomes a token:
the producer pushes it, the consumer pops it. For each of the four queues, hazards are reduced to a
list in which producers and consumers both only go forward, so the n-th push is met by the n-th pop, an
instruction uses a queue once at most, and no tokens are left over.

A stream holds one layer or several, one behind the other. Names of resources belong to a layer, but those of the
accumulators; between layers the builder compares the scratchpad ranges that LOADs fill, so the loads of a layer begin
while the layer before still computes. A LOAD of what a STORE of the stream wrote waits for that STORE only. Between
these units there is no queue: the token takes its way through an instruction of the compute unit that moves nothing, a
relay. It gives its token when all older work of that unit is done, so it is put as far forward as it can be.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn, load
from vta_arch.isa import Memory, Opcode, Unit

from .spans import LoadedSpans, Readers, Span, filled
from .store_log import StoreLog

Resource = Hashable
ACCUMULATORS = "acc"
"""First item of the name of an accumulator half, which means the same in all layers."""

_LEAD = 512
"""Products that are still to come when the next layer's micro-ops are loaded: longer than that takes."""
_ALL = 1 << 32
"""More instructions than a stream has."""

QUEUES: dict[tuple[Unit, Unit], tuple[str, str]] = {
    (Unit.LOAD, Unit.COMPUTE): ("push_next", "pop_prev"),
    (Unit.COMPUTE, Unit.LOAD): ("push_prev", "pop_next"),
    (Unit.COMPUTE, Unit.STORE): ("push_next", "pop_prev"),
    (Unit.STORE, Unit.COMPUTE): ("push_prev", "pop_next"),
}
"""Producer and consumer unit -> token bits of either."""


@dataclass
class _State:
    """Instructions that last touched a resource, and where the LOADs of its layer put it."""

    writer: int | None = None
    readers: Readers = field(default_factory=dict)
    span: Span | None = None


@dataclass(frozen=True)
class Relocation:
    """The dram_base of an instruction counts from ``target``: a constant segment or a tensor."""

    insn: Insn
    memory: Memory
    target: str


def _steps(insn: Insn) -> int:
    """Products of a GEMM or DEPTHWISE instruction, about."""
    get = insn.fields.get
    return get("iter_out", 0) * get("iter_in", 0) * (get("uop_end", 0) - get("uop_bgn", 0))


class StreamBuilder:
    """Builds the stream of one launch, without its FINISH. Call :meth:`begin_layer` between two layers."""

    def __init__(self, cfg: VTAConfig) -> None:
        self.cfg = cfg
        self._insns: list[Insn] = []
        self._units: list[Unit] = []
        self._behind: dict[int, int] = {}
        """Relays and loads of micro-ops that come behind an earlier instruction than the one added before them."""
        self._products: list[tuple[int, int]] = []
        """Instructions of the array: number, and products of all so far."""
        self._states: dict[Resource, _State] = {}
        self.loaded = LoadedSpans()
        """Where earlier layers loaded something, and who read it there."""
        self._needs: list[tuple[int, int]] = []
        self._stores = StoreLog(cfg)
        self._seen = -1
        """The newest STORE that the LOADs so far have waited for."""
        self._last_relay = -1
        self._early: int | None = None
        self._last_half = 1
        self._last_filled: dict[Memory, int] = {}
        self._layer_start = 0
        self.used = {Memory.UOP: (0, 0), Memory.REQ: (0, 0)}
        """The elements, [first, beyond), that the last layer uses of memories in which a layer chooses its place."""
        self.banks: list[int | None] = []
        """The one accumulator bank of each instruction; None: none or not declared."""
        self.relocations: list[Relocation] = []
        self._starts: list[int] = []
        self.layers: list[tuple[int, int]] = []
        """After :meth:`finish`: first instruction of each layer that was begun, and how many it has."""

    @property
    def other_half(self) -> int:
        """The half of the accumulators that the stream did not fill last: there the next tile waits least."""
        return 1 - self._last_half

    def other_slot(self, memory: Memory, slots: int, depth: int) -> int:
        """Of slots that share a scratchpad of ``depth`` elements, the first of the half that was not loaded last."""
        return slots // 2 if self._last_filled.get(memory, depth) < depth // 2 else 0

    def begin_layer(self) -> None:
        """What follows belongs to another layer."""
        here = [state for name, state in self._states.items() if not _lasting(name)]
        self.loaded.end_layer((state.span, state.readers) for state in here if state.span is not None)
        self._states = {name: state for name, state in self._states.items() if _lasting(name)}
        self._early = self._find_early()
        self._layer_start = len(self._insns)
        self._starts.append(self._layer_start)

    def _find_early(self) -> int | None:
        """The product of the last layer behind which loads of the next one may stand; None if it has none."""
        own = self._products[bisect(self._products, (self._layer_start, -1)) :]
        if not own:
            return None
        return next((index for index, total in reversed(own) if own[-1][1] - total >= _LEAD), own[0][0])

    def beside(self, memory: Memory, size: int) -> int:
        """Where ``size`` elements stand beside what the last layer left, if there is room; else 0."""
        depth = self.cfg.uop_depth if memory == Memory.UOP else self.cfg.req_depth
        _, beyond = self.used[memory]
        return beyond if depth - beyond >= size else 0

    def hoist(self, memory: Memory, indices: Sequence[int], first: int, beyond: int) -> None:
        """Move the layer's load of [first, beyond) forward into the last layer, unless that still needs these elements.

        ``indices``: the load and what belongs to it.
        """
        old_first, old_beyond = self.used[memory]
        if self._early is not None and (beyond <= old_first or old_beyond <= first):
            self._behind |= dict.fromkeys(indices, self._early)

    def add(
        self, insn: Insn, reads: Iterable[Resource] = (), writes: Iterable[Resource] = (), *, bank: int | None = None
    ) -> int:
        """Append an instruction that reads and writes the given resources; its index in the stream.

        ``bank``: the accumulator bank in which it stays, if the hardware knows that too (one_bank, or LOAD ACC).
        """
        index, unit = len(self._insns), insn.unit
        self._insns.append(insn)
        self._units.append(unit)
        self.banks.append(bank)
        if insn.opcode in (Opcode.GEMM, Opcode.DEPTHWISE):
            before = self._products[-1][1] if self._products else 0
            self._products.append((index, before + _steps(insn)))
        for resource in reads:
            state = self._states.setdefault(resource, _State())
            if state.writer is not None:
                self._need(state.writer, index)
            state.readers[unit] = index
        for resource in writes:
            state = self._states.setdefault(resource, _State())
            for earlier in (*state.readers.values(), *(() if state.writer is None else (state.writer,))):
                self._need(earlier, index)
            self._states[resource] = _State(index, span=state.span)
            if isinstance(resource, tuple) and resource[0] == ACCUMULATORS:
                self._last_half = resource[1]
        return index

    def add_transfer(
        self,
        insn: Insn,
        memory: Memory,
        target: str,
        reads: Iterable[Resource] = (),
        writes: Iterable[Resource] = (),
        *,
        bank: int | None = None,
    ) -> int:
        """Append a LOAD or STORE whose dram_base counts from ``target``, a constant segment or a tensor."""
        self.relocations.append(Relocation(insn, memory, target))
        if insn.unit == Unit.STORE:
            index = self.add(insn, reads, writes, bank=bank)
            self._stores.add(target, index, insn)
            return index
        relay = self._relay_for(insn, memory, target)
        names = list(writes)
        index = self.add(insn, reads, names, bank=bank)
        if relay is not None:
            self._need(relay, index)
        self._replace(filled(insn, memory), names, index)
        return index

    def _replace(self, span: Span, names: list[Resource], index: int) -> None:
        """The LOAD ``index`` of ``names`` fills ``span``: first comes who reads there for an earlier layer."""
        self._last_filled[span.memory] = span.first
        for name in names:
            self._states[name].span = span.joined(self._states[name].span)
        if span.memory in (Memory.ACC, Memory.ACC_8BIT):
            readers = [state.readers for name, state in self._states.items() if _lasting(name)]
        else:
            readers = self.loaded.readers(span)
        for reader in (item for by_unit in readers for item in by_unit.values()):
            if reader < self._layer_start:
                self._need(reader, index)

    def _relay_for(self, insn: Insn, memory: Memory, target: str) -> int | None:
        """The instruction whose token says that what ``insn`` loads is stored; None: the LOADs before know it."""
        if not self._stores.has(target):
            return None
        newest = self._stores.newest_under(target, insn, memory, after=self._seen)
        if newest is None:
            return None
        self._seen = newest
        relay = self.add(load(self.cfg, Memory.UOP))
        self._need(newest, relay)
        place = self._hidden(newest)
        if place is not None:
            self._behind[relay] = place
        self._last_relay = self._behind.get(relay, relay)
        return relay

    def _hidden(self, stored: int) -> int | None:
        """The product behind which a relay for the STORE ``stored`` finds it done; None: the end of the stream."""
        following = bisect(self._products, (stored, _ALL))
        before = self._products[following - 1][1] if following else 0
        for index, total in self._products[following:]:
            if index >= self._last_relay and total - before >= self._stores.cycles(stored):
                return index
        return None

    def _need(self, producer: int, consumer: int) -> None:
        if self._units[producer] != self._units[consumer]:
            self._needs.append((producer, consumer))

    def _order(self) -> list[int]:
        """The instructions by number, relays where they belong."""
        return sorted(range(len(self._insns)), key=lambda index: (self._behind.get(index, index), index))

    def finish(self) -> list[Insn]:
        """The instructions, their token bits set; afterwards ``banks`` and positions follow their order."""
        order = self._order()
        rank = {index: position for position, index in enumerate(order)}
        done: dict[tuple[Unit, Unit], int] = {}
        by_consumer: dict[tuple[tuple[Unit, Unit], int], int] = {}
        for producer, consumer in self._needs:
            queue = self._units[producer], self._units[consumer]
            assert rank[producer] < rank[consumer], "an instruction was moved before what it waits for"
            key = (queue, rank[consumer])
            by_consumer[key] = max(rank[producer], by_consumer.get(key, -1))
        insns = [self._insns[index] for index in order]
        for (queue, consumer), producer in sorted(by_consumer.items(), key=lambda item: item[0][1]):
            if producer <= done.get(queue, -1):
                continue
            done[queue] = producer
            push, pop = QUEUES[queue]
            insns[producer].fields[push] = 1
            insns[consumer].fields[pop] = 1
        self.banks = [self.banks[index] for index in order]
        self.layers = self._find_layers(rank)
        return insns

    def _find_layers(self, rank: dict[int, int]) -> list[tuple[int, int]]:
        """First instruction and number of each layer's; a relay belongs to where it stands."""
        ends = [len(rank)]
        for start in reversed(self._starts):
            own = (rank[index] for index in range(start, len(rank)) if index not in self._behind)
            ends.append(min(next(own, ends[-1]), ends[-1]))
        return [(first, end - first) for first, end in pairwise(reversed(ends))]


def _lasting(name: Resource) -> bool:
    """Whether a resource has its name in all layers."""
    return isinstance(name, tuple) and name[0] == ACCUMULATORS
