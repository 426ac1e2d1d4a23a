"""A folder as a build leaves it, with a small bitstream."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from vta_arch.config import VTAConfig
from vta_boards.board import Board
from vta_boards.build_result import CONFIG, MANIFEST, BuildResult

PADDING, DETECT, SYNC = b"\xff" * 32, bytes.fromhex("000000bb11220044ffffffffffffffff"), bytes.fromhex("aa995566")


def words(count: int = 64) -> bytes:
    """Configuration words, big-endian, as a device takes them."""
    rest = np.random.default_rng(count).integers(0, 256, 4 * count, dtype=np.uint8).tobytes()
    return PADDING + DETECT + SYNC + rest


def field(letter: str, text: str) -> bytes:
    raw = text.encode() + b"\0"
    return letter.encode() + len(raw).to_bytes(2, "big") + raw


def bit_file(part: str = "7z020clg400", data: bytes | None = None) -> bytes:
    """A .bit as Vivado writes it."""
    data = words() if data is None else data
    head = bytes.fromhex("00090ff00ff00ff00ff0000001") + field("a", "vta_wrapper;UserID=0XFFFFFFFF;Version=2023.2")
    head += field("b", part) + field("c", "2026/11/28") + field("d", "12:00:00")
    return head + b"e" + len(data).to_bytes(4, "big") + data


def part_in_bit(board: Board) -> str:
    """How Vivado names the part in a .bit: in full for UltraScale+."""
    return board.device if board.system.family == "zynqmp" else board.device.removeprefix("xc").split("-")[0]


def make_build(folder: Path, board: Board, cfg: VTAConfig) -> BuildResult:
    """Manifest, configuration and bitstream."""
    build = BuildResult(folder, board, cfg, f"vta_{cfg.name}")
    manifest = {"board": board.key, "stem": build.stem, "fingerprint": cfg.fingerprint_hex}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    (folder / CONFIG).write_text(json.dumps(cfg.to_dict()))
    build.file(".bit").write_bytes(bit_file(part_in_bit(board)))
    build.file(".hwh").write_text("<EDKSYSTEM/>\n")
    return build
