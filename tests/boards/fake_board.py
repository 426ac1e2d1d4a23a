"""A stand-in for a board: device files, attributes below /sys, and an accelerator behind them that really runs.

The register file is a shared map that a thread serves. The CPU's view of the buffer is one file; what the accelerator
reads and writes is another array, and only cache maintenance copies between them. So a device that forgets to flush
or to invalidate gives wrong results.
"""

from __future__ import annotations

import mmap
import os
import queue
import select
import socket
import threading
from pathlib import Path

import numpy as np
from vta_arch.config import VTAConfig
from vta_arch.registers import BASE_MEMORIES, HW_VERSION, IDENT, NO_INSN, OFFSETS, Control, Irq, Status
from vta_boards.board import Board
from vta_boards.devices.mapped import MappedRegisters
from vta_boards.devices.udmabuf import UDmaBuf
from vta_boards.devices.uio import REGISTER_BYTES, UioInterrupt
from vta_sim.functional import FunctionalDevice

BUFFER_BYTES = 1 << 20
PHYSICAL = 0x1800_0000
ACKNOWLEDGE_SECONDS = 10


class FakeBoard:
    """The files of a board below ``root``, and its accelerator of the configuration ``cfg``.

    ``events`` lists cache maintenance as (attribute, offset, size) and runs as ("START", 0, 0), in order. While
    ``hang`` is set a started run does not end; ``left_running`` is the state that a killed program leaves.
    """

    def __init__(self, root: Path, cfg: VTAConfig, board: Board, *, left_running: bool = False) -> None:
        self.root, self.cfg, self.hang = root, cfg, False
        self.events: list[tuple[str, int, int]] = []
        self.resets = 0
        self._make_files(board)
        self._open(board)
        self._set(IDENT=IDENT, VERSION=HW_VERSION, CAPABILITY=cfg.capabilities, ERROR_INSN=NO_INSN)
        self._set(FINGERPRINT_LO=cfg.fingerprint() & 0xFFFFFFFF, FINGERPRINT_HI=cfg.fingerprint() >> 32)
        self._set(STATUS=int(Status.RUNNING) if left_running else 0)
        self.dram = np.random.default_rng(1).integers(0, 256, BUFFER_BYTES, dtype=np.uint8)
        self.cpu = np.memmap(root / "dev" / "udmabuf0", dtype=np.uint8, mode="r+")
        self._device = FunctionalDevice(cfg)
        self._commands: queue.Queue[tuple[int, int, threading.Event]] = queue.Queue()
        self.ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._wake_out, self._wake_in = os.pipe()
        self._armed, self._pending, self._count = False, False, 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    # What the code under test opens --------------------------------------------------------
    def interrupt(self) -> UioInterrupt:
        """The interrupt, at the other end of a socket instead of a UIO file."""
        return UioInterrupt(os.dup(self.ours.fileno()))

    def close(self) -> None:
        """End the thread."""
        self.post(-1, 0)
        self._thread.join(ACKNOWLEDGE_SECONDS)
        self.ours.close()
        self._theirs.close()

    def finish(self) -> None:
        """Let a run that hangs end."""
        self._set(STATUS=int(Status.DONE))

    def post(self, offset: int, value: int) -> None:
        """Let the accelerator see a write to a register that acts, and wait until it has."""
        seen = threading.Event()
        self._commands.put((offset, value, seen))
        os.write(self._wake_in, b"x")
        assert seen.wait(ACKNOWLEDGE_SECONDS)

    def sync(self, attribute: str, offset: int, size: int) -> None:
        """Cache maintenance of a range, as the driver of the buffer does it."""
        self.events.append((attribute, offset, size))
        source, target = (self.cpu, self.dram) if attribute == "sync_for_device" else (self.dram, self.cpu)
        target[offset : offset + size] = source[offset : offset + size]

    # Files ---------------------------------------------------------------------------------
    def _make_files(self, board: Board) -> None:
        for folder in ("dev", "sys/class/uio/uio0/maps/map0", "sys/class/uio/uio3/maps/map0"):
            (self.root / folder).mkdir(parents=True)
        uio = self.root / "sys/class/uio"
        (uio / "uio0/name").write_text("another\n")
        (uio / "uio3/name").write_text("vta\n")
        (uio / "uio3/maps/map0/addr").write_text(f"{board.system.control_base:#010x}\n")
        (uio / "uio3/maps/map0/size").write_text(f"{0x10000:#010x}\n")
        buffer = self.root / "sys/class/u-dma-buf/udmabuf0"
        buffer.mkdir(parents=True)
        values = {"phys_addr": f"0x{PHYSICAL:08x}", "size": BUFFER_BYTES, "sync_mode": 1}
        values |= dict.fromkeys(("sync_offset", "sync_size", "sync_direction", "sync_for_cpu", "sync_for_device"), 0)
        for name, value in values.items():
            (buffer / name).write_text(f"{value}\n")
        manager = self.root / "sys/class/fpga_manager/fpga0"
        manager.mkdir(parents=True)
        (manager / "state").write_text("operating\n")
        (self.root / "dev/udmabuf0").write_bytes(bytes(BUFFER_BYTES))
        (self.root / "dev/uio3").write_bytes(bytes(REGISTER_BYTES))
        with (self.root / "dev/mem").open("wb") as memory:  # sparse
            memory.truncate(board.system.control_base + REGISTER_BYTES)

    def _open(self, board: Board) -> None:
        """Registers are the UIO file and the place in /dev/mem at once: both are written, the one in use is read."""
        with (self.root / "dev/uio3").open("r+b") as file:
            self._maps = [mmap.mmap(file.fileno(), REGISTER_BYTES)]
        with (self.root / "dev/mem").open("r+b") as file:
            self._maps.append(mmap.mmap(file.fileno(), REGISTER_BYTES, offset=board.system.control_base))
        self._words = [memoryview(item).cast("I") for item in self._maps]
        self.used = self._words[0]

    def use_devmem(self) -> None:
        """Let the accelerator answer in /dev/mem."""
        self.used = self._words[1]

    def _set(self, **values: int) -> None:
        for words in self._words:
            for name, value in values.items():
                words[OFFSETS[name] // 4] = value

    def get(self, name: str) -> int:
        """A register, as the program wrote it."""
        return self.used[OFFSETS[name] // 4]

    # Accelerator ---------------------------------------------------------------------------
    def _serve(self) -> None:
        """Commands and unmasked interrupts, until the end."""
        while True:
            ready = select.select([self._wake_out, self._theirs], [], [])[0]
            if self._theirs in ready and self._theirs.recv(4):
                self._armed = True
            if self._wake_out in ready:
                os.read(self._wake_out, 1)
                offset, value, seen = self._commands.get()
                start = self._act(offset, value)
                seen.set()
                if offset < 0:
                    return
                if start and not self.hang:
                    self._run()
            self._raise_interrupt()

    def _act(self, offset: int, value: int) -> bool:
        """The effect of a write; whether a run begins."""
        if offset == OFFSETS["IRQ_STATUS"]:
            self._pending = self._pending and not value & Irq.DONE
        if offset != OFFSETS["CONTROL"]:
            return False
        if value & Control.RESET:
            self.resets += 1
            self._set(STATUS=0)
        if value & Control.START:
            self.events.append(("START", 0, 0))
            self._set(STATUS=int(Status.RUNNING))
        return bool(value & Control.START)

    def _run(self) -> None:
        pair = {name: self.get(f"{name}_LO") | self.get(f"{name}_HI") << 32 for name in ("INSN_ADDRESS", "DMA_BASE")}
        bases = {
            memory: self.get(f"{name}_LO") | self.get(f"{name}_HI") << 32 for memory, name in BASE_MEMORIES.items()
        }
        assert PHYSICAL <= pair["DMA_BASE"] < PHYSICAL + BUFFER_BYTES
        self._device.write(PHYSICAL, self.dram)
        result = self._device.launch(pair["INSN_ADDRESS"], self.get("INSN_COUNT"), bases)
        self.dram[:] = self._device.read(PHYSICAL, BUFFER_BYTES)
        self._set(ERRORS=result.errors, CYCLES_LO=self.get("INSN_COUNT"), STATUS=result.status)
        self._set(ERROR_INSN=NO_INSN if result.error_insn is None else result.error_insn)
        self._pending = True

    def _raise_interrupt(self) -> None:
        """The kernel's part: a high line that is not masked is counted and masked."""
        if self._armed and self._pending and self.get("IRQ_ENABLE") & Irq.DONE:
            self._count += 1
            self._theirs.send(self._count.to_bytes(4, "little"))
            self._armed = False


class ServedRegisters(MappedRegisters):
    """Mapped registers whose writes the stand-in has seen when they return, as on a bus."""

    def __init__(self, board: FakeBoard, path: Path, *, offset: int = 0) -> None:
        self._board = board
        super().__init__(path, REGISTER_BYTES, offset=offset)

    def write32(self, offset: int, value: int) -> None:
        super().write32(offset, value)
        if offset in (OFFSETS["CONTROL"], OFFSETS["IRQ_STATUS"]):
            self._board.post(offset, value)


class ServedBuffer(UDmaBuf):
    """A u-dma-buf buffer whose cache maintenance the stand-in carries out."""

    def __init__(self, board: FakeBoard, name: str = "udmabuf0", *, cached: bool = True) -> None:
        self._board = board
        super().__init__(name, cached=cached, root=board.root)

    def _write(self, attribute: str, value: int) -> None:
        super()._write(attribute, value)
        if attribute in ("sync_for_device", "sync_for_cpu"):
            assert self._number("sync_direction") == 0
            self._board.sync(attribute, self._number("sync_offset"), self._number("sync_size"))
