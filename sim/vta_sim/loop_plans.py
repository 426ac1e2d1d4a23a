"""What the loops of GEMM, DEPTHWISE and ALU instructions come down to for the micro-ops that they find."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn
from vta_arch.isa import AluOp, Opcode
from vta_arch.registers import Errors

from .functional_alu import alu_operations
from .functional_depthwise import depthwise_operations, depthwise_overwrite, depthwise_reset, output_errors
from .functional_gemm import gemm_operations, overwrite_operations, reset_operations
from .functional_requant import requant_index, requant_operations
from .loops import Ints, Operation, bank_errors, index_errors, iteration_space, live_loops
from .scratchpads import Scratchpads

_Make = Callable[[Scratchpads, Insn, Ints], Iterator[Operation]]


@dataclass(frozen=True)
class Plan:
    """What an instruction does with the micro-ops that it finds."""

    operations: Iterable[Operation]
    """A tuple, if they can be run again."""
    errors: int
    indices: int
    """Steps of the loops, each tap one, without those that repeat others."""


def make_plan(pads: Scratchpads, insn: Insn, table: Ints) -> Plan:
    """The plan of a GEMM, DEPTHWISE or ALU of known operation whose micro-ops are ``table`` [n, 3]; n is not 0.

    Its operations can be iterated over once.
    """
    make, depths = _select(pads.cfg, insn)
    loops, _ = live_loops(insn, depths)
    operations = make(pads, insn, table)
    taps = pads.cfg.depthwise_taps if insn.opcode == Opcode.DEPTHWISE else 1
    errors = int(_errors(pads.cfg, insn, table, depths))
    return Plan(operations, errors, iteration_space(loops) * len(table) * taps)


def _select(cfg: VTAConfig, insn: Insn) -> tuple[_Make, dict[str, int]]:
    """What makes the operations, and by name, in the micro-op's order, the indices used and how many there may be."""
    depths = {"dst": cfg.acc_depth}
    if insn.opcode == Opcode.ALU:
        requant = insn["alu_opcode"] == AluOp.REQ
        if not insn["use_imm"]:
            depths["src"] = cfg.req_depth if requant else cfg.acc_depth
        return requant_operations if requant else alu_operations, depths
    deep = insn.opcode == Opcode.DEPTHWISE
    if insn["reset"] and not insn.fields.get("one_bank"):
        return depthwise_reset if deep else reset_operations, depths
    # The taps of a depthwise step lie behind its src.
    depths |= {"src": cfg.inp_depth - (cfg.depthwise_taps - 1 if deep else 0), "wgt": cfg.wgt_depth}
    if insn["reset"]:
        return depthwise_overwrite if deep else overwrite_operations, depths
    return depthwise_operations if deep else gemm_operations, depths


def _errors(cfg: VTAConfig, insn: Insn, table: Ints, depths: dict[str, int]) -> Errors:
    errors = index_errors(cfg, insn, table, depths)
    if insn.opcode == Opcode.DEPTHWISE:
        errors |= output_errors(cfg, insn, table)
    elif insn.fields.get("alu_opcode") == AluOp.REQ and insn["use_imm"] and requant_index(insn) >= cfg.req_depth:
        errors |= Errors.INDEX_RANGE
    if insn.fields.get("one_bank"):
        errors |= bank_errors(cfg, insn, table)
    return errors
