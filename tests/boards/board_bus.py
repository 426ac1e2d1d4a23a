"""The stand-in board for another process: its accelerator stays here, and what that process writes is seen here.

Device files are shared by nature. Writes that act, cache maintenance and the interrupt's file go over a socket.
"""

from __future__ import annotations

import contextlib
import os
import threading
from multiprocessing.connection import Client, Connection, Listener
from multiprocessing.reduction import recv_handle, send_handle
from pathlib import Path

from fake_board import FakeBoard, ServedBuffer, ServedRegisters
from vta_boards.devices import opening
from vta_boards.devices.uio import UioInterrupt


def share(board: FakeBoard) -> Listener:
    """Let other processes reach a board, until the listener is closed."""
    listener = Listener(str(board.root / "bus"), "AF_UNIX")
    threading.Thread(target=_accept, args=(listener, board), daemon=True).start()
    return listener


def _accept(listener: Listener, board: FakeBoard) -> None:
    with contextlib.suppress(OSError):
        while True:
            threading.Thread(target=_answer, args=(listener.accept(), board), daemon=True).start()


def _answer(connection: Connection, board: FakeBoard) -> None:
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            name, *arguments = connection.recv()
            if name == "interrupt":
                send_handle(connection, board.ours.fileno(), arguments[0])
            else:
                connection.send(getattr(board, name)(*arguments))


class BoardElsewhere:
    """What the stand-ins of registers and buffer want of a board, which is in another process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._connection = Client(str(root / "bus"), "AF_UNIX")

    def post(self, offset: int, value: int) -> None:
        """See :meth:`FakeBoard.post`."""
        self._ask("post", offset, value)

    def sync(self, attribute: str, offset: int, size: int) -> None:
        """See :meth:`FakeBoard.sync`."""
        self._ask("sync", attribute, offset, size)

    def interrupt(self) -> UioInterrupt:
        """See :meth:`FakeBoard.interrupt`."""
        self._connection.send(("interrupt", os.getpid()))
        return UioInterrupt(recv_handle(self._connection))

    def _ask(self, *question: object) -> None:
        self._connection.send(question)
        self._connection.recv()


def install(root: Path) -> None:
    """Let this process open the board that another one shares."""

    def registers(path: Path, _size: int, *, offset: int) -> ServedRegisters:
        return ServedRegisters(BoardElsewhere(root), path, offset=offset)  # type: ignore[arg-type]

    def buffer(name: str, *, cached: bool, root: Path) -> ServedBuffer:
        return ServedBuffer(BoardElsewhere(root), name, cached=cached)  # type: ignore[arg-type]

    opening.MappedRegisters = registers  # type: ignore[assignment,misc]
    opening.UDmaBuf = buffer  # type: ignore[assignment,misc]
    opening.UioInterrupt.open = lambda _path: BoardElsewhere(root).interrupt()  # type: ignore[method-assign]
