"""Products of few bits: as many as fit go to hardware multipliers, several in one, and the others to logic."""

from __future__ import annotations

from itertools import chain as joined
from itertools import zip_longest

from amaranth.hdl import Module, Signal, Value
from vta_arch.config import DEPTHWISE_GROUP, VTAConfig

from .array_operands import ArrayOperands
from .depthwise import output_rows
from .field_chains import FieldChain
from .plane_sums import GROUP_ROWS, PlaneSums

DEVICE_MULTIPLIERS = 220
"""Hardware multipliers of a xc7z020."""
LANE_MULTIPLIERS = 1
"""Those that the ALU takes for a lane."""
REQUANT_MULTIPLIERS = 2
"""Those that the requantizer takes for an element a cycle."""


def multipliers_left(cfg: VTAConfig) -> int:
    """Hardware multipliers of the smallest device that the ALU and the requantizer leave."""
    requantized = cfg.requant_width if "requant" in cfg.extensions else 0
    return max(0, DEVICE_MULTIPLIERS - LANE_MULTIPLIERS * cfg.batch * cfg.block_out - REQUANT_MULTIPLIERS * requantized)


def chained_products(cfg: VTAConfig) -> dict[tuple[int, int], int]:
    """(row of the batch, first row of a block) -> columns, from 0 on, whose products with FieldChain.ROWS rows from
    there are summed in chains of multipliers.

    The columns of a chain must see the same activations, so the rows that depthwise steps use are left to logic.
    Products of one bit are no work for a multiplier.
    """
    fields = FieldChain(cfg).fields
    if min(cfg.inp_width, cfg.wgt_width) == 1 or fields < 2:
        return {}
    deep = "depthwise" in cfg.extensions
    used = DEPTHWISE_GROUP * cfg.depthwise_taps * cfg.depthwise_outputs if deep else 0
    blocks = [[rows[0] for rows in _blocks([r for r in own if r >= used], FieldChain.ROWS)] for own in output_rows(cfg)]
    left = multipliers_left(cfg) // FieldChain.ROWS
    chained: dict[tuple[int, int], int] = {}
    # One block of each output after the other, so that their sums are alike.
    for block in joined.from_iterable(zip_longest(*blocks)):
        for row in range(cfg.batch):
            chains = min(left, -(-cfg.block_out // fields))
            left -= chains
            if block is not None and chains:
                chained[row, block] = min(cfg.block_out, chains * fields)
    return chained


def _blocks(rows: list[int], size: int) -> list[list[int]]:
    """Whole blocks of rows that follow each other."""
    blocks = [rows[first : first + size] for first in range(0, len(rows), size)]
    return [block for block in blocks if len(block) == size]


def _groups(rows: list[int]) -> list[list[int]]:
    """Groups of powers of two, the largest first."""
    groups = []
    while rows:
        size = min(GROUP_ROWS, 1 << (len(rows).bit_length() - 1))
        groups.append(rows[:size])
        rows = rows[size:]
    return groups


class NarrowProducts:
    """All products of an array, and their sums over a few rows. ``latency``: cycles from the operands to the parts;
    ``levels`` of the adder tree that sums the parts of an output."""

    LEVELS_PER_STAGE = 1
    """Each addition has a register: tools build several at once from more LUTs than one after the other."""

    def __init__(self, cfg: VTAConfig) -> None:
        self._cfg = cfg
        self._chain = FieldChain(cfg)
        self._chained = chained_products(cfg)
        lanes = [self._rows(row, column) for row in range(cfg.batch) for column in range(cfg.block_out)]
        counts = [len(blocks) + len(groups) for outputs in lanes for blocks, groups in outputs]
        self.levels = (max(counts) - 1).bit_length()
        sizes = {len(rows) for outputs in lanes for _, groups in outputs for rows in groups}
        latencies = [PlaneSums.latency(cfg, size) for size in sizes]
        self.latency = max([*latencies, *([FieldChain.LATENCY] if self._chained else [])])

    def parts(self, m: Module, operands: ArrayOperands) -> list[list[list[Value]]]:
        """For each lane, for each output, what must be added up."""
        cfg = self._cfg
        planes = PlaneSums(m, cfg, operands)
        chains = self._chains(m, operands)
        lanes = []
        for row in range(cfg.batch):
            for column in range(cfg.block_out):
                outputs = []
                for blocks, groups in self._rows(row, column):
                    values = [self._late(m, chains[row, column, block], FieldChain.LATENCY) for block in blocks]
                    for rows in groups:
                        values.append(self._late(m, planes.sum(row, column, rows), PlaneSums.latency(cfg, len(rows))))
                    outputs.append(values)
                lanes.append(outputs)
        return lanes

    def _rows(self, row: int, column: int) -> list[tuple[list[int], list[list[int]]]]:
        """For each output of a lane, the first rows of its chains, and its groups of rows in logic."""
        outputs = []
        for own in output_rows(self._cfg):
            blocks = [index for index in own if self._chained.get((row, index), 0) > column]
            chained = {index + number for index in blocks for number in range(FieldChain.ROWS)}
            outputs.append((blocks, _groups([index for index in own if index not in chained])))
        return outputs

    def _chains(self, m: Module, operands: ArrayOperands) -> dict[tuple[int, int, int], Value]:
        """(row of the batch, column, first row) -> the sum of a chain."""
        sums: dict[tuple[int, int, int], Value] = {}
        ages = range(FieldChain.ROWS)
        for (row, block), end in self._chained.items():
            activations = [operands.value(row, 0, block + age) for age in ages]
            values = []
            for age in ages:
                value = operands.value(row, 0, block + age, age)
                values.append(Signal(value.shape(), name=f"value_{row}_{block + age}", reset_less=True))
                m.d.sync += values[-1].eq(value)
            moved = self._chain.correction(m, activations, f"{row}_{block}")
            for first in range(0, end, self._chain.fields):
                columns = range(first, min(end, first + self._chain.fields))
                weights = [[operands.weight(column, block + age, age) for column in columns] for age in ages]
                found = self._chain.sums(m, moved, weights, values, f"{row}_{first}_{block}")
                sums.update({(row, column, block): value for column, value in zip(columns, found, strict=True)})
        return sums

    def _late(self, m: Module, value: Value, age: int) -> Value:
        """A part that comes after ``age`` cycles, when all parts come."""
        for cycle in range(age, self.latency):
            register = Signal(value.shape(), name=f"part_late{cycle}")
            m.d.sync += register.eq(value)
            value = register
        return value
