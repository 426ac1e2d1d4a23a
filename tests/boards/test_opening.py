"""Finding and opening a board's device files, and everything that can be missing or wrong there."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from board_programs import images, program_of
from fake_board import PHYSICAL, FakeBoard, ServedRegisters
from vta_arch.errors import DeviceError
from vta_arch.program import Program
from vta_boards.board import find_board
from vta_boards.devices import opening
from vta_boards.devices.opening import BoardOptions, DeviceKind, open_board
from vta_runtime.evaluators import Evaluator
from vta_runtime.executor import Executor

BOARD = find_board("pynq-z1")
POLLING = BoardOptions(interrupt=False)


@pytest.fixture(scope="module")
def tiny() -> Program:
    return program_of("tiny")


@pytest.fixture
def board(tmp_path: Path, tiny: Program, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBoard]:
    fake = FakeBoard(tmp_path, tiny.config, BOARD)
    monkeypatch.setattr(
        opening, "MappedRegisters", lambda path, _size, *, offset: ServedRegisters(fake, path, offset=offset)
    )
    yield fake
    fake.close()


@pytest.mark.parametrize("kind", [DeviceKind.UIO, DeviceKind.DEVMEM])
def test_files_are_found_and_a_run_ends(board: FakeBoard, kind: DeviceKind) -> None:
    if kind is DeviceKind.DEVMEM:
        board.use_devmem()
    with open_board(kind, board.cfg, BOARD, POLLING, root=board.root) as device:
        assert device.allocate(5) == PHYSICAL
        assert device.launch(PHYSICAL, 0, {}).errors
        assert board.events == [("START", 0, 0)]


def test_the_interrupt_is_that_of_the_uio_file(board: FakeBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening.UioInterrupt, "open", lambda path: (path.name == "uio3") and board.interrupt())
    with open_board(DeviceKind.UIO, board.cfg, BOARD, root=board.root) as device:
        assert device.launch(PHYSICAL, 0, {}).errors


MISTAKES = {
    "no uio": ("sys/class/uio/uio3/name", "other", "'vta' does not exist, there are 'another', 'other'.*of_id"),
    "elsewhere": ("sys/class/uio/uio3/maps/map0/addr", "0x43c10000", "is at 0x43c10000, the board's registers"),
    "small": ("sys/class/uio/uio3/maps/map0/size", "0x10", "has 16 bytes of registers"),
    "no number": ("sys/class/uio/uio3/maps/map0/size", "?", "not a hexadecimal number"),
    "empty fabric": ("sys/class/fpga_manager/fpga0/state", "unknown", "not programmed.*vta board flash"),
    "no size": ("sys/class/u-dma-buf/udmabuf0/size", "much", "holds no number"),
    "size beyond the file": ("sys/class/u-dma-buf/udmabuf0/size", str(1 << 30), "cannot be mapped"),
    "small buffer": ("sys/class/u-dma-buf/udmabuf0/size", "100", "has 100 bytes"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_named(board: FakeBoard, case: str) -> None:
    file, text, message = MISTAKES[case]
    (board.root / file).write_text(text)
    with pytest.raises(DeviceError, match=message) as caught:
        open_board(DeviceKind.UIO, board.cfg, BOARD, POLLING, root=board.root)
    assert "\n" not in str(caught.value)


def test_missing_files_are_named(board: FakeBoard) -> None:
    with pytest.raises(DeviceError, match="buffer 'mine' does not exist, there are udmabuf0"):
        open_board(DeviceKind.UIO, board.cfg, BOARD, BoardOptions(buffer="mine"), root=board.root)
    (board.root / "sys/class/u-dma-buf/udmabuf0/sync_mode").write_text("0")
    with pytest.raises(DeviceError, match="sync_mode 0, which keeps the CPU cache on"):
        open_board(DeviceKind.UIO, board.cfg, BOARD, BoardOptions(cached=False), root=board.root)
    (board.root / "dev/udmabuf0").unlink()
    with pytest.raises(DeviceError, match="udmabuf0: there is no such device"):
        open_board(DeviceKind.UIO, board.cfg, BOARD, POLLING, root=board.root)


class FakeArray(np.ndarray):
    """pynq's buffer: slices know their place and maintain their own cache."""

    def __array_finalize__(self, parent: object) -> None:
        self.fake = getattr(parent, "fake", None)

    @property
    def device_address(self) -> int:
        start = self.fake.cpu.__array_interface__["data"][0]
        return PHYSICAL + self.__array_interface__["data"][0] - start

    def flush(self) -> None:
        self.fake.sync("sync_for_device", self.device_address - PHYSICAL, self.nbytes)

    def invalidate(self) -> None:
        self.fake.sync("sync_for_cpu", self.device_address - PHYSICAL, self.nbytes)

    def freebuffer(self) -> None:
        self.fake.events.append(("freed", 0, 0))


def fake_pynq(fake: FakeBoard, base: int) -> ModuleType:
    class Overlay:
        def __init__(self, bitfile: str) -> None:
            if not Path(bitfile).exists():
                raise OSError(f"Bitstream file {bitfile} does not exist.")
            self.ip_dict = {"vta_0": {"phys_addr": base, "addr_range": 65536}, "ps": {}}

    class MMIO(ServedRegisters):
        def __init__(self, address: int, _length: int) -> None:
            assert address == base
            super().__init__(fake, fake.root / "dev/uio3")
            self.read, self.write = self.read32, self.write32

    def allocate(shape: tuple[int], dtype: type) -> FakeArray:
        assert (len(shape), dtype) == (1, np.uint8)
        array = fake.cpu.view(FakeArray)
        array.fake = fake
        return array

    module = ModuleType("pynq")
    module.Overlay, module.MMIO, module.allocate = Overlay, MMIO, allocate  # type: ignore[attr-defined]
    return module


def test_pynq(board: FakeBoard, tiny: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    bitfile = board.root / "vta.bit"
    bitfile.write_bytes(b"")
    options = BoardOptions(bitfile=bitfile, memory_mib=1)
    monkeypatch.setitem(sys.modules, "pynq", fake_pynq(board, BOARD.system.control_base))
    with open_board(DeviceKind.PYNQ, board.cfg, BOARD, options, root=board.root) as device:
        executor = Executor(tiny, device, cpu=Evaluator.NUMPY)
        executor.run(images(), check=True)
        assert executor.report.mismatches == 0
    assert [kind for kind, _offset, _size in board.events if kind in ("START", "freed")][-1] == "freed"
    with pytest.raises(DeviceError, match=r"no IP at 0xa0000000, where KV260.*vta_0 at 0x43c00000"):
        open_board(DeviceKind.PYNQ, board.cfg, find_board("kv260"), options, root=board.root)
    with pytest.raises(DeviceError, match="PYNQ cannot use /missing"):
        open_board(DeviceKind.PYNQ, board.cfg, BOARD, BoardOptions(bitfile=Path("/missing")), root=board.root)
    with pytest.raises(DeviceError, match="needs the bitstream"):
        open_board(DeviceKind.PYNQ, board.cfg, BOARD, root=board.root)
    monkeypatch.setitem(sys.modules, "pynq", None)
    with pytest.raises(DeviceError, match="PYNQ cannot be imported"):
        open_board(DeviceKind.PYNQ, board.cfg, BOARD, options, root=board.root)


def test_the_notebook_of_the_page_runs(
    board: FakeBoard, tiny: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "on-board.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    monkeypatch.setitem(sys.modules, "pynq", fake_pynq(board, BOARD.system.control_base))
    monkeypatch.chdir(tmp_path)
    tiny.save("P.vta")
    np.savez("X.npz", **images())
    Path("vta_pynq_z1.bit").write_bytes(b"")
    exec(compile(code, str(page), "exec"), {})
    assert "ARRAY_BUSY" in capsys.readouterr().out
