"""Opening the accelerator of the board that this runs on."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from vta_arch.config import VTAConfig
from vta_arch.errors import DeviceError

from ..board import Board
from .board_device import DEFAULT_TIMEOUT, BoardDevice
from .mapped import MappedRegisters
from .pynq_device import open_pynq
from .udmabuf import UDmaBuf
from .uio import REGISTER_BYTES, UioInterrupt, find_uio

UIO_NAME = "vta"
"""Name of the accelerator's UIO device: that of its node in our device tree overlay."""
BUFFER_NAME = "udmabuf0"
"""Name of its buffer: that of u-dma-buf's first one, and of the one in our overlay."""
BUFFER_MIB = 64
"""Size of the buffer, in MiB, that our overlay and PYNQ are asked for: ResNet-50 takes about 40."""


class DeviceKind(str, Enum):  # noqa: UP042 - boards have Python 3.10
    """How a board's registers are reached."""

    UIO = "uio"
    """/dev/uioN and a u-dma-buf buffer, with the interrupt."""
    DEVMEM = "devmem"
    """/dev/mem and a u-dma-buf buffer, polling."""
    PYNQ = "pynq"
    """pynq.Overlay and pynq.allocate."""

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, kw_only=True)
class BoardOptions:
    """What a person may choose about a board's device."""

    uio: str = UIO_NAME
    """Name of the UIO device."""
    buffer: str = BUFFER_NAME
    """Name of the u-dma-buf buffer."""
    cached: bool = True
    """Use the CPU cache for the buffer, with maintenance; PYNQ always does."""
    interrupt: bool | None = None
    """Wait for the interrupt (True) or poll (False); None: interrupt with UIO, where the overlay has it, else poll."""
    bitfile: Path | None = None
    """Bitstream for PYNQ to program."""
    memory_mib: int = BUFFER_MIB
    """Buffer that PYNQ is asked for, in MiB."""
    timeout: float = DEFAULT_TIMEOUT
    """Seconds that a run may take."""


def open_board(
    kind: DeviceKind, cfg: VTAConfig, board: Board, options: BoardOptions | None = None, *, root: Path = Path("/")
) -> BoardDevice:
    """The accelerator of ``board``, which must be of the configuration ``cfg``.

    ``root`` is the folder that stands for ``/``. Raises DeviceError, in one line, for everything that is missing,
    is in use or does not fit.
    """
    options = options or BoardOptions()
    if kind is DeviceKind.PYNQ:
        return open_pynq(
            options.bitfile,
            cfg,
            board,
            memory_mib=options.memory_mib,
            interrupt=bool(options.interrupt),
            timeout=options.timeout,
            root=root,
        )
    require_programmed(root)
    base = board.system.control_base
    device, offset = root / "dev" / "mem", base
    if kind is DeviceKind.UIO:
        device, offset = find_uio(options.uio, root=root, address=base), 0
    waits = kind is DeviceKind.UIO and options.interrupt is not False
    with contextlib.ExitStack() as on_error:
        buffer = on_error.enter_context(contextlib.closing(UDmaBuf(options.buffer, cached=options.cached, root=root)))
        registers = on_error.enter_context(contextlib.closing(MappedRegisters(device, REGISTER_BYTES, offset=offset)))
        interrupt = UioInterrupt.open(device) if waits else None
        on_error.pop_all()
    return BoardDevice(cfg, registers, buffer, interrupt=interrupt, timeout=options.timeout)


def require_programmed(root: Path) -> None:
    """Raise DeviceError when the kernel knows that the fabric is empty: reading its registers would hang the board."""
    state = root / "sys" / "class" / "fpga_manager" / "fpga0" / "state"
    try:
        found = state.read_text(encoding="ascii").strip()
    except FileNotFoundError:  # a kernel without fpga_manager: nobody knows
        return
    except OSError as error:
        raise DeviceError(f"{state}: cannot be read: {error.strerror}") from None
    if found != "operating":
        raise DeviceError(f"the board's fabric is not programmed (state {found!r}); use `vta board flash` first")
