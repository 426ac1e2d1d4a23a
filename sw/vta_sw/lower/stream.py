"""A layer's instruction stream: hazards in, dependency tokens out.

Instructions are added in an order that would be right if they ran one after the other, each with the
resources (slots of scratchpads, tensors) that it reads and writes. Between two units a hazard becomes a token:
the producer pushes it, the consumer pops it. For each of the four queues, hazards are reduced to a
list in which producers and consumers both only go forward, so the n-th push is met by the n-th pop, an
instruction uses a queue once at most, and no tokens are left over.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn, load
from vta_arch.isa import Memory, Unit

Resource = Hashable

QUEUES: dict[tuple[Unit, Unit], tuple[str, str]] = {
    (Unit.LOAD, Unit.COMPUTE): ("push_next", "pop_prev"),
    (Unit.COMPUTE, Unit.LOAD): ("push_prev", "pop_next"),
    (Unit.COMPUTE, Unit.STORE): ("push_next", "pop_prev"),
    (Unit.STORE, Unit.COMPUTE): ("push_prev", "pop_next"),
}
"""Producer and consumer unit -> token bits of either."""


@dataclass
class _State:
    """Instructions that last touched a resource."""

    writer: int | None = None
    readers: dict[Unit, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Relocation:
    """The dram_base of an instruction counts from ``target``: a constant segment or a tensor."""

    insn: Insn
    memory: Memory
    target: str


class StreamBuilder:
    """Builds one slice. It begins and ends with a barrier, so slices can follow one another."""

    def __init__(self, cfg: VTAConfig) -> None:
        self._cfg = cfg
        self._insns: list[Insn] = []
        self._states: dict[Resource, _State] = {}
        self._needs: list[tuple[int, int]] = []
        self.banks: list[int | None] = []
        """The one accumulator bank of each instruction; None: none or not declared."""
        self.relocations: list[Relocation] = []
        self._barrier = self._token_only(writes=[("barrier",)])

    def _token_only(self, reads: Iterable[Resource] = (), writes: Iterable[Resource] = ()) -> int:
        """An instruction of the compute unit that moves nothing."""
        return self.add(load(self._cfg, Memory.UOP), reads, writes)

    def add(
        self, insn: Insn, reads: Iterable[Resource] = (), writes: Iterable[Resource] = (), *, bank: int | None = None
    ) -> int:
        """Append an instruction that reads and writes the given resources; its index in the slice.

        ``bank``: the accumulator bank in which it stays, if the hardware knows that too (one_bank, or LOAD ACC).
        """
        index, unit = len(self._insns), insn.unit
        self._insns.append(insn)
        self.banks.append(bank)
        for resource in reads:
            state = self._states.setdefault(resource, _State())
            if state.writer is not None:
                self._need(state.writer, index)
            state.readers[unit] = index
        for resource in writes:
            state = self._states.setdefault(resource, _State())
            for earlier in (*state.readers.values(), *(() if state.writer is None else (state.writer,))):
                self._need(earlier, index)
            self._states[resource] = _State(index)
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
        """Append a LOAD or STORE whose dram_base counts from ``target``."""
        self.relocations.append(Relocation(insn, memory, target))
        if insn.unit == Unit.LOAD:
            reads = [*reads, ("barrier",)]
        if insn.unit == Unit.STORE:
            writes = [*writes, ("stored",)]
        return self.add(insn, reads, writes, bank=bank)

    def _need(self, producer: int, consumer: int) -> None:
        if self._insns[producer].unit != self._insns[consumer].unit:
            self._needs.append((producer, consumer))

    def finish(self) -> list[Insn]:
        """The slice, its token bits set. The last instruction waits until everything is stored."""
        self._token_only(reads=[("stored",)])
        done: dict[tuple[Unit, Unit], int] = {}
        by_consumer: dict[tuple[tuple[Unit, Unit], int], int] = {}
        for producer, consumer in self._needs:
            queue = self._insns[producer].unit, self._insns[consumer].unit
            key = (queue, consumer)
            by_consumer[key] = max(producer, by_consumer.get(key, -1))
        for (queue, consumer), producer in sorted(by_consumer.items(), key=lambda item: item[0][1]):
            if producer <= done.get(queue, -1):
                continue
            done[queue] = producer
            push, pop = QUEUES[queue]
            self._insns[producer].fields[push] = 1
            self._insns[consumer].fields[pop] = 1
        return self._insns
