"""The options of ``vta-board`` that say which board this is and how its accelerator is reached."""

from __future__ import annotations

import argparse
from pathlib import Path

from .board import BOARDS, Board, find_board
from .devices.opening import BoardOptions, DeviceKind


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """Give a command the board, the kind of device and its options, except the time of a run."""
    parser.add_argument("--board", choices=list(BOARDS), required=True, metavar="NAME", help=", ".join(BOARDS))
    parser.add_argument(
        "--device",
        choices=[str(kind) for kind in DeviceKind],
        default=str(DeviceKind.UIO),
        help="how registers and memory are reached (default: %(default)s)",
    )
    parser.add_argument("--bitfile", type=Path, metavar="X.bit", help="bitstream that PYNQ programs")
    parser.add_argument(
        "--buffer", default=BoardOptions.buffer, metavar="NAME", help="u-dma-buf buffer (default: %(default)s)"
    )
    parser.add_argument(
        "--memory-mib",
        type=int,
        default=BoardOptions.memory_mib,
        metavar="N",
        help="MiB that PYNQ allocates (default: %(default)s)",
    )
    parser.add_argument("--uncached", action="store_true", help="open the buffer without CPU cache")
    parser.add_argument("--poll", action="store_true", help="poll instead of waiting for the interrupt")


def chosen_device(chosen: argparse.Namespace, *, timeout: float) -> tuple[DeviceKind, Board, BoardOptions]:
    """What :func:`add_device_options` was given; a run may take ``timeout`` seconds."""
    options = BoardOptions(
        buffer=chosen.buffer,
        cached=not chosen.uncached,
        interrupt=False if chosen.poll else None,
        bitfile=chosen.bitfile,
        memory_mib=chosen.memory_mib,
        timeout=timeout,
    )
    return DeviceKind(chosen.device), find_board(chosen.board), options
