"""Networks on the board's devices, over a stand-in whose accelerator and cache really work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from board_programs import CONFIGS, images, program_of
from fake_board import BUFFER_BYTES, PHYSICAL, FakeBoard, ServedBuffer, ServedRegisters
from vta_arch.errors import DeviceError
from vta_arch.program import Program
from vta_boards.board import find_board
from vta_boards.devices.board_device import BoardDevice
from vta_runtime.evaluators import Evaluator
from vta_runtime.executor import Executor

BOARD = find_board("pynq-z1")


@pytest.fixture(scope="module")
def tiny() -> Program:
    return program_of("tiny")


@pytest.fixture
def board(tmp_path: Path, tiny: Program) -> Iterator[FakeBoard]:
    fake = FakeBoard(tmp_path, tiny.config, BOARD)
    yield fake
    fake.close()


def opened(fake: FakeBoard, *, cached: bool = True, interrupt: bool = True, timeout: float = 20) -> BoardDevice:
    registers = ServedRegisters(fake, fake.root / "dev" / "uio3")
    waiting = fake.interrupt() if interrupt else None
    return BoardDevice(fake.cfg, registers, ServedBuffer(fake, cached=cached), interrupt=waiting, timeout=timeout)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_network_gives_the_reference_and_caches_are_maintained(name: str, tmp_path: Path) -> None:
    program = program_of(name)
    fake = FakeBoard(tmp_path, program.config, BOARD)
    with opened(fake) as device:
        executor = Executor(program, device, cpu=Evaluator.NUMPY)
        found = executor.run(images(), check=True)
    fake.close()
    expected = Executor(program, cpu=Evaluator.NUMPY).run(images())
    assert executor.report.mismatches == 0
    assert executor.report.cycles
    assert all(np.array_equal(found[key], expected[key]) for key in expected)
    kinds = [event[0] for event in fake.events]
    for place in (index for index, kind in enumerate(kinds) if kind == "START"):
        assert kinds[place - 1] == "sync_for_device"
        assert kinds[place + 1] == "sync_for_cpu"


def test_pages_are_maintained_once(board: FakeBoard) -> None:
    with opened(board) as device:
        first = device.allocate(3 * 4096)
        assert (first, device.allocate(1)) == (PHYSICAL, PHYSICAL + 3 * 4096)
        device.write(first, np.arange(5000, dtype=np.uint8))
        device.write(first + 2 * 4096 + 7, bytes(1))
        device.window = (first, first + 4096)
        device.launch(first, 0, {})
        assert board.events == [("sync_for_device", 0, 3 * 4096), ("START", 0, 0)]
        assert np.array_equal(device.read(first, 5000), np.arange(5000, dtype=np.uint8))
        device.read(first, 10)
        assert board.events[2:] == [("sync_for_cpu", 0, 4096)]
        device.launch(first, 0, {})
        assert board.events[3:] == [("START", 0, 0)]
        device.write(first + 4000, bytes(200))
        assert board.events[4:] == [("sync_for_cpu", 0, 4096)]


def test_without_cache_a_page_is_named_for_the_barrier(board: FakeBoard) -> None:
    with opened(board, cached=False) as device:
        device.write(PHYSICAL, bytes(10 * 4096))
        device.launch(PHYSICAL, 0, {})
        assert board.events == [("sync_for_device", 0, 4096), ("START", 0, 0)]


def test_what_a_killed_program_left_is_ended_before_memory_is_touched(tmp_path: Path, tiny: Program) -> None:
    fake = FakeBoard(tmp_path, tiny.config, BOARD, left_running=True)
    opened(fake).close()
    assert (fake.resets, fake.events) == (1, [])
    fake.close()


@pytest.mark.parametrize("interrupt", [True, False])
def test_a_run_that_does_not_end_is_reset_and_the_next_one_works(
    board: FakeBoard, tiny: Program, interrupt: bool
) -> None:
    board.hang = True
    with opened(board, interrupt=interrupt, timeout=0.3) as device:
        with pytest.raises(DeviceError, match=r"did not end within 0\.3 s .*timeout"):
            device.launch(PHYSICAL, 1, {})
        assert board.resets == 2
    board.hang = False
    with opened(board, interrupt=interrupt) as device:
        executor = Executor(tiny, device, cpu=Evaluator.NUMPY)
        executor.run(images(), check=True)
        assert executor.report.mismatches == 0


def test_an_interrupt_that_never_comes_is_named(board: FakeBoard) -> None:
    class Silent:
        def wait(self, _seconds: float) -> bool:
            board.finish()
            return False

        def close(self) -> None:
            pass

    board.hang = True
    registers = ServedRegisters(board, board.root / "dev" / "uio3")
    with (
        BoardDevice(board.cfg, registers, ServedBuffer(board), interrupt=Silent()) as device,
        pytest.raises(DeviceError, match="has ended, but no interrupt came"),
    ):
        device.launch(PHYSICAL, 0, {})


def test_another_accelerator_is_refused_by_name(board: FakeBoard) -> None:
    board.cfg = program_of("int4").config
    with pytest.raises(DeviceError, match="configuration 'int4'"):
        opened(board)
    opened_again = ServedBuffer(board)
    opened_again.close()


def test_what_does_not_fit_is_refused(board: FakeBoard) -> None:
    with opened(board) as device:
        with pytest.raises(DeviceError, match="make the buffer larger"):
            device.allocate(BUFFER_BYTES + 1)
        with pytest.raises(DeviceError, match="outside the buffer"):
            device.read(PHYSICAL - 1, 1)
        with pytest.raises(DeviceError, match="outside the buffer"):
            device.write(PHYSICAL + BUFFER_BYTES - 1, bytes(2))
        device.window = (0, 4096)
        with pytest.raises(DeviceError, match="DMA window"):
            device.launch(PHYSICAL, 0, {})
        with pytest.raises(DeviceError, match="in use by another program"):
            ServedBuffer(board)


@pytest.mark.parametrize(
    ("address", "text"),
    [("0x1_0000_0000", "beyond the 32 address bits"), ("0x18000800", "does not begin at a multiple of 4096")],
)
def test_a_buffer_that_the_accelerator_cannot_use_is_refused(board: FakeBoard, address: str, text: str) -> None:
    (board.root / "sys/class/u-dma-buf/udmabuf0/phys_addr").write_text(address)
    with pytest.raises(DeviceError, match=text):
        opened(board)
