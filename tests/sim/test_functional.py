"""The functional device: tokens, errors, persistence, and the loops that must stay fast."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn, alu, encode_stream, encode_uops, finish, gemm, load, make, store
from vta_arch.errors import DeviceError
from vta_arch.isa import AluOp, Memory, Opcode
from vta_arch.numerics import multiply_low, shift_right, wrap
from vta_arch.presets import load_preset
from vta_arch.registers import Errors, Status
from vta_runtime.device import RunResult
from vta_sim.functional import FunctionalDevice
from vta_sim.functional_gemm import EXACT_FLOAT32
from vta_sim.random_streams import named_configs
from vta_sim.sparse_memory import PAGE_BYTES, SparseMemory
from vta_sim.token_queues import Scheduler, make_job

CFG = load_preset("tiny")
UOPS, DATA, RESULT, CODE = 0x10000, 0x20000, 0x30000, 0x40000


def run(insns: list[Insn], device: FunctionalDevice | None = None, cfg: VTAConfig = CFG) -> RunResult:
    device = device or FunctionalDevice(cfg)
    device.write(CODE, encode_stream(cfg, insns))
    bases = {Memory.UOP: UOPS, Memory.INP: DATA, Memory.WGT: DATA, Memory.ACC: DATA, Memory.OUT: RESULT}
    return device.launch(CODE, len(insns), bases)


def put_uops(device: FunctionalDevice, uops: list[tuple[int, int, int]]) -> Insn:
    """Micro-ops in memory, and the LOAD that fetches them to index 0."""
    device.write(UOPS, encode_uops(device.config, uops).view(np.uint8))
    return load(device.config, Memory.UOP, x_size=len(uops), y_size=1, x_stride=1)


def accumulators(device: FunctionalDevice, values: NDArray[np.int64]) -> Insn:
    """Accumulator vectors [n, batch * block_out] in memory, and the LOAD that fetches them to index 0."""
    kind = {16: "<i2", 32: "<i4"}[device.config.acc_width]
    device.write(DATA, np.frombuffer(values.astype(kind).tobytes(), dtype=np.uint8))
    return load(device.config, Memory.ACC, x_size=len(values), y_size=1, x_stride=1)


# Tokens ------------------------------------------------------------------------------------
DEADLOCKS = {
    "load": ([load(CFG, Memory.INP, pop_next=1), finish(CFG)], Status.WAIT_LOAD),
    "compute": ([load(CFG, Memory.UOP, pop_prev=1), finish(CFG)], Status.WAIT_COMPUTE),
    "finish": ([finish(CFG, pop_next=1)], Status.WAIT_COMPUTE),
    "store": ([store(CFG, pop_prev=1), finish(CFG)], Status.WAIT_STORE),
    "all": (
        [load(CFG, Memory.WGT, pop_next=1), store(CFG, pop_prev=1), gemm(CFG, pop_prev=1), finish(CFG)],
        Status.WAIT_LOAD | Status.WAIT_COMPUTE | Status.WAIT_STORE,
    ),
}


@pytest.mark.parametrize("case", list(DEADLOCKS))
def test_deadlock_names_the_waiting_units(case: str) -> None:
    insns, waiting = DEADLOCKS[case]
    result = run(insns)
    assert result.errors == Errors.DEADLOCK
    assert result.status == Status.DONE | Status.ERROR | waiting


def test_stream_without_finish() -> None:
    assert run([load(CFG, Memory.INP, push_next=1)]).errors == Errors.NO_FINISH
    assert run([]).errors == Errors.NO_FINISH
    result = run([store(CFG, pop_prev=1)])
    assert result.errors == Errors.NO_FINISH | Errors.DEADLOCK
    assert result.status & Status.WAIT_STORE


def test_tokens_and_errors_do_not_persist_but_scratchpads_do() -> None:
    device = FunctionalDevice(CFG)
    values = np.arange(8).reshape(2, 4)
    assert run([accumulators(device, values), load(CFG, Memory.INP, push_next=1)], device).errors == Errors.NO_FINISH
    assert run([load(CFG, Memory.UOP, pop_prev=1), finish(CFG)], device).errors == Errors.DEADLOCK
    assert run([store(CFG, x_size=2, y_size=1), finish(CFG)], device).errors == 0
    np.testing.assert_array_equal(device.read(RESULT, 8), np.arange(8, dtype=np.uint8))


def test_finish_pushes_and_nothing_after_it_runs() -> None:
    device = FunctionalDevice(CFG)
    pre = accumulators(device, np.full((1, 4), 7))
    insns = [store(CFG, x_size=1, y_size=1, pop_prev=1), pre, finish(CFG, push_next=1)]
    assert run([*insns, store(CFG, x_size=1, y_size=1, dram_base=9)], device).errors == 0
    assert device.read(RESULT, 4).tolist() == [7] * 4
    assert not device.read(RESULT + 36, 4).any()


def test_token_bits_without_a_queue_are_ignored() -> None:
    insns = [load(CFG, Memory.INP, pop_prev=1, push_prev=1), store(CFG, pop_next=1, push_next=1), finish(CFG)]
    assert run(insns).errors == 0


def test_full_token_queue_holds_up_its_unit_and_loses_nothing() -> None:
    order: list[str] = []

    def execute(job: object) -> Errors:
        order.append(type(job).__name__)
        return Errors(0)

    scheduler = Scheduler(execute, limit=2)
    for _ in range(5):
        scheduler.dispatch(make_job(load(CFG, Memory.INP, push_next=1), b""))
    scheduler.run()
    assert len(order) == 3
    assert scheduler.waiting() == Status.WAIT_LOAD
    for _ in range(5):
        scheduler.dispatch(make_job(load(CFG, Memory.UOP, pop_prev=1), b""))
    scheduler.run()
    assert len(order) == 10
    assert scheduler.waiting() == Status(0)


def test_many_tokens_ahead() -> None:
    insns = [load(CFG, Memory.INP, push_next=1)] * 5000 + [load(CFG, Memory.UOP, pop_prev=1)] * 5000
    assert run([*insns, finish(CFG)]).errors == 0


# Errors ------------------------------------------------------------------------------------
def test_unknown_opcode_is_dropped_with_its_tokens() -> None:
    unknown = Insn(6, {"pop_prev": 1, "pop_next": 1, "push_prev": 1, "push_next": 1})
    assert run([unknown, finish(CFG)]).errors == Errors.UNKNOWN_OPCODE
    result = run([unknown, store(CFG, pop_prev=1), finish(CFG)])
    assert result.errors == Errors.UNKNOWN_OPCODE | Errors.DEADLOCK


@pytest.mark.parametrize("memory", [Memory.OUT, 6, 7])
def test_unknown_memory_keeps_its_tokens(memory: int) -> None:
    cfg = named_configs()["int4"]  # requantization parameters are unknown to it
    insn = make(cfg, Opcode.LOAD, memory_type=memory, x_size=3, y_size=2, push_next=1)
    insns = [insn, store(cfg, pop_prev=1), finish(cfg)]
    assert run(insns, FunctionalDevice(cfg), cfg).errors == Errors.UNKNOWN_MEMORY


def test_unknown_alu_operation_changes_nothing() -> None:
    device = FunctionalDevice(CFG)
    values = np.full((1, 4), 5)
    insns = [accumulators(device, values), put_uops(device, [(0, 0, 0)])]
    insns.append(make(CFG, Opcode.ALU, alu_opcode=6, uop_end=1, iter_out=1, iter_in=1, push_next=1))
    assert (
        run([*insns, store(CFG, x_size=1, y_size=1, pop_prev=1), finish(CFG)], device).errors == Errors.UNKNOWN_OPCODE
    )
    assert device.read(RESULT, 4).tolist() == [5] * 4


def _loop(**values: int) -> dict[str, int]:
    return {"uop_end": 1, "iter_out": 1, "iter_in": 1, **values}


RANGES = {
    "load": (load(CFG, Memory.INP, sram_base=CFG.inp_depth - 1, x_size=2, y_size=1), True),
    "load to the end": (load(CFG, Memory.INP, sram_base=CFG.inp_depth - 2, x_size=2, y_size=1), False),
    "load pads": (load(CFG, Memory.UOP, sram_base=CFG.uop_depth - 2, x_size=2, y_size=1, x_pad_1=1), True),
    "empty load": (load(CFG, Memory.INP, sram_base=0xFFFF, x_size=0, y_size=1), False),
    "store": (store(CFG, sram_base=CFG.acc_depth - 1, x_size=1, y_size=2), True),
    "gemm dst": (gemm(CFG, **_loop(iter_in=3, dst_factor_in=CFG.acc_depth // 2)), True),
    "gemm src": (gemm(CFG, **_loop(iter_out=3, src_factor_out=CFG.inp_depth // 2)), True),
    "gemm wgt": (gemm(CFG, **_loop(iter_out=3, wgt_factor_out=CFG.wgt_depth // 2)), True),
    "gemm last": (gemm(CFG, **_loop(iter_out=2, wgt_factor_out=CFG.wgt_depth - 1)), False),
    "reset reads no weight": (gemm(CFG, **_loop(reset=1, iter_out=3, wgt_factor_out=CFG.wgt_depth // 2)), False),
    "gemm uop": (gemm(CFG, **_loop(uop_bgn=CFG.uop_depth - 1, uop_end=CFG.uop_depth + 1)), True),
    "no iteration": (gemm(CFG, **_loop(uop_end=CFG.uop_depth + 9, iter_in=0)), False),
    "empty range": (alu(CFG, AluOp.ADD, **_loop(uop_bgn=7, uop_end=7, iter_in=99, dst_factor_in=99)), False),
    "alu src": (alu(CFG, AluOp.ADD, **_loop(iter_in=3, src_factor_in=CFG.acc_depth // 2)), True),
    "alu imm": (alu(CFG, AluOp.ADD, **_loop(iter_in=3, src_factor_in=CFG.acc_depth // 2, use_imm=1)), False),
}


@pytest.mark.parametrize("case", list(RANGES))
def test_index_range(case: str) -> None:
    insn, over = RANGES[case]
    assert run([insn, finish(CFG)]).errors == (Errors.INDEX_RANGE if over else 0)


def test_huge_wrapping_load_keeps_the_last_elements() -> None:
    device = FunctionalDevice(CFG)
    device.write(DATA, np.arange(1, 5, dtype="<i4").view(np.uint8))
    insn = load(CFG, Memory.ACC, x_size=65535, y_size=65535, x_stride=0, y_pad_0=15, x_pad_1=15)
    result = run([insn, store(CFG, x_size=CFG.acc_depth, y_size=1), finish(CFG)], device)
    assert result.errors == Errors.INDEX_RANGE


# Loops -------------------------------------------------------------------------------------
def _gemm_case(cfg: VTAConfig, uops: list[tuple[int, int, int]], loop: dict[str, int]) -> tuple[NDArray[np.int64], ...]:
    """Accumulators after a GEMM, from the device and from plain numpy."""
    rng = np.random.default_rng(len(uops))
    device = FunctionalDevice(cfg)
    x = rng.integers(cfg.inp_min, cfg.inp_max + 1, size=(cfg.inp_depth, cfg.batch, cfg.block_in))
    w = rng.integers(cfg.wgt_min, cfg.wgt_max + 1, size=(cfg.wgt_depth, cfg.block_out, cfg.block_in))
    device._pads.inp[...] = x
    device._pads.wgt[...] = w
    fetch = put_uops(device, uops)
    assert run([fetch, gemm(cfg, uop_end=len(uops), **loop), finish(cfg)], device, cfg).errors == 0
    acc = np.zeros((cfg.acc_depth, cfg.batch, cfg.block_out), dtype=np.int64)
    for outer in range(loop["iter_out"]):
        for inner in range(loop["iter_in"]):
            for fields in uops:
                at = [
                    value + outer * loop.get(f"{name}_factor_out", 0) + inner * loop.get(f"{name}_factor_in", 0)
                    for name, value in zip(("dst", "src", "wgt"), fields, strict=True)
                ]
                acc[at[0]] += x[at[1]] @ w[at[2]].T
    return wrap(acc.reshape(cfg.acc_depth, -1), cfg.acc_width), device._pads.acc.astype(np.int64)


CONV = [
    (o * 9, i * 25 + kh * 5 + kw, (o * 2 + i) * 4 + kh * 2 + kw)
    for o in (0, 1)
    for i in (0, 1)
    for kh in (0, 1)
    for kw in (0, 1)
]
PIXELS = {"iter_out": 3, "iter_in": 3, "dst_factor_out": 3, "dst_factor_in": 1, "src_factor_out": 5, "src_factor_in": 1}
SHAPES: dict[str, tuple[list[tuple[int, int, int]], dict[str, int]]] = {
    "convolution": (CONV, PIXELS),
    "dense": ([(o, i, o * 4 + i) for o in range(5) for i in range(4)], {"iter_out": 1, "iter_in": 1}),
    "pixels in micro-ops": (
        [(p, p, 0) for p in range(30)],
        {"iter_out": 1, "iter_in": 4, "src_factor_in": 7, "wgt_factor_in": 2},
    ),
    "one dst": (
        [(3, 1, 2), (3, 2, 1), (3, 1, 2)],
        {"iter_out": 4, "iter_in": 3, "src_factor_out": 2, "wgt_factor_in": 1},
    ),
    "dead loops": ([(3, 1, 2), (4, 1, 2)], {"iter_out": 16383, "iter_in": 16383}),
    "overlapping dst": ([(0, 0, 0), (1, 0, 1)], {"iter_out": 3, "iter_in": 4, "dst_factor_out": 1, "dst_factor_in": 1}),
    "weights of loops": (
        [(0, 0, 0), (9, 4, 1)],
        {"iter_out": 2, "iter_in": 3, "dst_factor_in": 1, "wgt_factor_out": 3},
    ),
}


@pytest.mark.parametrize("name", ["tiny", "batch2", "acc16", "unsigned", "int1"])
@pytest.mark.parametrize("shape", list(SHAPES))
def test_gemm_shapes(name: str, shape: str) -> None:
    uops, loop = SHAPES[shape]
    if shape == "dead loops":
        loop = {"iter_out": 37, "iter_in": 11}
    expected, found = _gemm_case(named_configs()[name], uops, loop)
    np.testing.assert_array_equal(found, expected)


def test_two_to_the_28_iterations_of_one_micro_op() -> None:
    device = FunctionalDevice(CFG)
    device._pads.inp[1] = 3
    device._pads.wgt[2] = -5
    uops, loop = SHAPES["dead loops"]
    fetch = put_uops(device, uops)
    assert run([fetch, gemm(CFG, uop_end=len(uops), **loop), finish(CFG)], device).errors == 0
    assert (device._pads.acc[3] == wrap(np.array(16383 * 16383 * 4 * -15), 32)).all()


def test_all_micro_ops_in_one_iteration() -> None:
    cfg = load_preset("classic")
    rng = np.random.default_rng(2)
    count = cfg.uop_depth
    limits = (cfg.acc_depth, cfg.inp_depth, cfg.wgt_depth)
    uops = np.stack([rng.integers(0, limit, size=count) for limit in limits], axis=1)
    expected, found = _gemm_case(cfg, [tuple(int(v) for v in row) for row in uops], {"iter_out": 1, "iter_in": 1})
    np.testing.assert_array_equal(found, expected)


def test_long_reduction_of_extreme_values_is_exact() -> None:
    cfg = load_preset("classic")
    device = FunctionalDevice(cfg)
    device._pads.inp[...] = cfg.inp_min
    device._pads.wgt[...] = cfg.wgt_min
    count = 1000
    assert count * cfg.block_in * cfg.inp_min * cfg.wgt_min > EXACT_FLOAT32
    fetch = put_uops(device, [(0, n, n) for n in range(count)])
    assert run([fetch, gemm(cfg, uop_end=count, iter_out=1, iter_in=1), finish(cfg)], device, cfg).errors == 0
    assert (device._pads.acc[0] == count * cfg.block_in * cfg.inp_min * cfg.wgt_min).all()


# ALU ---------------------------------------------------------------------------------------
def _alu_reference(cfg: VTAConfig, acc: NDArray[np.int64], insn: Insn, uops: list[tuple[int, int, int]]) -> None:
    bits = cfg.acc_width
    for outer in range(insn["iter_out"]):
        for inner in range(insn["iter_in"]):
            for dst, src, _ in uops:
                d = dst + outer * insn["dst_factor_out"] + inner * insn["dst_factor_in"]
                s = src + outer * insn["src_factor_out"] + inner * insn["src_factor_in"]
                right = np.asarray(insn["imm"]) if insn["use_imm"] else acc[s].copy()
                acc[d] = {
                    AluOp.MIN: np.minimum(acc[d], right),
                    AluOp.MAX: np.maximum(acc[d], right),
                    AluOp.ADD: wrap(acc[d] + right, bits),
                    AluOp.SHR: shift_right(acc[d], right, bits),
                    AluOp.MUL: multiply_low(acc[d], right, bits),
                }[AluOp(insn["alu_opcode"])]


ALU_SHAPES: dict[str, tuple[list[tuple[int, int, int]], dict[str, int]]] = {
    "each once": (
        [(0, 20, 0)],
        {"iter_out": 3, "iter_in": 4, "dst_factor_out": 4, "dst_factor_in": 1, "src_factor_in": 1},
    ),
    "pooling": (
        [(0, 20 + k, 0) for k in range(4)],
        {"iter_out": 1, "iter_in": 5, "dst_factor_in": 1, "src_factor_in": 2},
    ),
    "itself": ([(3, 3, 0), (4, 4, 0)], {"iter_out": 1, "iter_in": 6, "dst_factor_in": 2, "src_factor_in": 2}),
    "chain": ([(1, 0, 0)], {"iter_out": 1, "iter_in": 9, "dst_factor_in": 1, "src_factor_in": 1}),
    "reversed chain": ([(0, 1, 0)], {"iter_out": 1, "iter_in": 9, "dst_factor_in": 1, "src_factor_in": 1}),
    "repeated body": ([(0, 20, 0), (1, 21, 0), (0, 22, 0)], {"iter_out": 7, "iter_in": 5}),
    "repeated hazard": ([(0, 1, 0), (1, 2, 0), (2, 0, 0)], {"iter_out": 3, "iter_in": 5}),
    "dead inner loop": (
        [(0, 3, 0), (3, 1, 0)],
        {"iter_out": 4, "iter_in": 5, "dst_factor_out": 2, "src_factor_out": 2},
    ),
    "dead inner, apart": (
        [(0, 20, 0), (1, 21, 0)],
        {"iter_out": 4, "iter_in": 5, "dst_factor_out": 1, "src_factor_out": 1},
    ),
    "dead outer loop": ([(0, 3, 0), (3, 1, 0)], {"iter_out": 4, "iter_in": 5, "dst_factor_in": 1, "src_factor_in": 2}),
}


@pytest.mark.parametrize("imm", [None, 3, -2, -40, 1 << 14, 0])
@pytest.mark.parametrize("op", [op for op in AluOp if op is not AluOp.REQ])
@pytest.mark.parametrize("name", ["tiny", "acc16"])
def test_alu_is_sequential(name: str, op: AluOp, imm: int | None) -> None:
    cfg = named_configs()[name]
    rng = np.random.default_rng(11)
    for shape, (uops, loop) in ALU_SHAPES.items():
        lanes = cfg.batch * cfg.block_out
        low, high = (-5, 6) if rng.random() < 0.5 else (cfg.acc_min, cfg.acc_max + 1)
        acc = rng.integers(low, high, size=(40, lanes))
        device = FunctionalDevice(cfg)
        operand = {} if imm is None else {"use_imm": 1, "imm": imm}
        insn = alu(cfg, op, uop_end=len(uops), **loop, **operand)
        insns = [accumulators(device, acc), put_uops(device, uops), insn, finish(cfg)]
        assert run(insns, device, cfg).errors == 0
        _alu_reference(cfg, acc, insn, uops)
        np.testing.assert_array_equal(device._pads.acc[:40], acc, err_msg=f"{shape} {op.name}")


@pytest.mark.parametrize("uop", [(0, 1, 0), (2, 2, 0)])
@pytest.mark.parametrize("op", [op for op in AluOp if op is not AluOp.REQ])
def test_many_alu_repeats_of_one_micro_op_end_soon(op: AluOp, uop: tuple[int, int, int]) -> None:
    device = FunctionalDevice(CFG)
    insns = [accumulators(device, np.full((3, 4), 3)), put_uops(device, [uop])]
    insns.append(alu(CFG, op, uop_end=1, iter_out=16383, iter_in=16383))
    insns.append(alu(CFG, op, uop_end=1, iter_out=16383, iter_in=16383, use_imm=1, imm=3))
    assert run([*insns, finish(CFG)], device).errors == 0


# Memory ------------------------------------------------------------------------------------
def test_sparse_memory_reads_zero_and_wraps() -> None:
    memory = SparseMemory(40)
    assert not memory.read(1 << 39, 3 * PAGE_BYTES).any()
    data = np.arange(200, dtype=np.uint8)
    memory.write((1 << 40) - 100, data)
    np.testing.assert_array_equal(memory.read(0, 100), data[100:])
    np.testing.assert_array_equal(memory.read((1 << 40) - 100, 200), data)


@pytest.mark.parametrize("stride", [0, 3, 5, 9, PAGE_BYTES - 2])
def test_sparse_rows(stride: int) -> None:
    memory, flat = SparseMemory(32), np.zeros(8 * PAGE_BYTES, dtype=np.uint8)
    start = PAGE_BYTES - 12
    data = np.arange(1, 31, dtype=np.uint8).reshape(6, 5)
    memory.write_rows(start, data, stride)
    for row in range(6):
        flat[start + row * stride : start + row * stride + 5] = data[row]
    np.testing.assert_array_equal(memory.read(0, len(flat)), flat)
    expected = [flat[start + row * stride : start + row * stride + 5] for row in range(6)]
    np.testing.assert_array_equal(memory.read_rows(start, 6, 5, stride), np.stack(expected))


def test_memory_limit() -> None:
    memory = SparseMemory(64, limit=2 * PAGE_BYTES)
    with pytest.raises(DeviceError, match="2 MiB of memory written"):
        memory.write(1 << 60, np.ones(3 * PAGE_BYTES, dtype=np.uint8))


def test_addresses_wrap_at_the_address_width() -> None:
    cfg = named_configs()["tiny"]
    device = FunctionalDevice(cfg)
    device.write(0, np.arange(1, 17, dtype=np.uint8))
    insns = [load(cfg, Memory.ACC_8BIT, dram_base=16, x_size=4, y_size=1), store(cfg, x_size=4, y_size=1), finish(cfg)]
    device.write(CODE, encode_stream(cfg, insns))
    result = device.launch(CODE, len(insns), {Memory.ACC: (1 << 32) - 64, Memory.OUT: RESULT})
    assert result.errors == 0
    assert device.read(RESULT, 16).tolist() == list(range(1, 17))


def test_host_mistakes() -> None:
    device = FunctionalDevice(CFG)
    with pytest.raises(DeviceError, match="outside the 32-bit address space"):
        device.write((1 << 32) - 1, b"ab")
    with pytest.raises(DeviceError, match="outside the 32-bit address space"):
        device.read(-1, 1)
    with pytest.raises(DeviceError, match="base of INP at 0x20: must be a multiple of 64"):
        device.launch(0, 0, {Memory.INP: 32})
    with pytest.raises(DeviceError, match="instruction stream at 0x10"):
        device.launch(16, 0, {})
    first, second = device.allocate(1), device.allocate(5000)
    assert first % 4096 == second % 4096 == 0
    assert second > first > 0
