"""What a build leaves in its folder: a manifest, the configuration, and the tools' files under one stem."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vta_arch.config import VTAConfig
from vta_arch.errors import BoardError, ConfigError

from .bitstream import LIMIT, SYNC_WITHIN, SYNC_WORD, WORD_BYTES, Bitstream, read_bit
from .board import Board

MANIFEST = "vta.json"
"""Board, fingerprint and stem of a build, for whoever programs the board."""
CONFIG = "config.json"
"""Its configuration, as every ``--config`` takes it."""
_TEXT_LIMIT = 1 << 20
_AGAIN = "build into another folder with `vta board build`"
_STEM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class BuildResult:
    """A build: for which board, of which configuration, and where its files are."""

    folder: Path
    board: Board
    config: VTAConfig
    stem: str

    def file(self, suffix: str) -> Path:
        """Path of one of its files, which need not exist."""
        return self.folder / f"{self.stem}{suffix}"

    def bitstream(self) -> Bitstream:
        """Its bitstream. Raises BoardError when it is missing, damaged, or for another device."""
        path = self.file(".bit")
        found = read_bit(_read(path, LIMIT), str(path))
        name = found.part.removeprefix("xc").split("-")[0]
        if not name or not self.board.device.removeprefix("xc").startswith(name):
            raise BoardError(f"{path}: is for the device {found.part!r}, {self.board.name} has {self.board.device}")
        return found

    def binary(self) -> bytes:
        """Contents of the ``.bin``: the tool's where it wrote one, else made from the bitstream. Raises BoardError."""
        path = self.file(".bin")
        if not path.exists():
            return self.bitstream().to_bin(self.board.system)
        data, swapped = _read(path, LIMIT), SYNC_WORD[::-1]
        allowed = (swapped,) if self.board.system.family == "zynq7" else (swapped, SYNC_WORD)
        places = [data.find(word, 0, SYNC_WITHIN) for word in allowed]
        if not any(place >= 0 and place % WORD_BYTES == 0 for place in places):
            raise BoardError(f"{path}: is not in fpga_manager's byte order; remove it, and it is made from the .bit")
        return data


def read_build(folder: Path, board: Board) -> BuildResult:
    """The build in a folder, its parts checked against each other.

    Raises BoardError when it has no manifest, configuration or bitstream, is for another board or memory port, has
    bitstreams of several stems, or its fingerprint is not that of its configuration.
    """
    config, values = folder / CONFIG, read_manifest(folder)
    try:
        cfg = VTAConfig.from_dict(_json(config), source=str(config))
    except (ConfigError, TypeError) as error:
        raise BoardError(f"{config}: is no configuration ({error}); {_AGAIN}") from None
    key, fingerprint, stem = (str(values.get(name)) for name in ("board", "fingerprint", "stem"))
    if key != board.key:
        raise BoardError(f"{folder}: is a build for {key!r}, not for {board.key!r}; name its own board")
    if cfg.fingerprint_hex != fingerprint:
        raise BoardError(
            f"{folder}: its files {stem} are of fingerprint {fingerprint}, configuration {cfg.name!r} has "
            f"{cfg.fingerprint_hex}; build again"
        )
    if cfg.axi_data_width not in board.system.memory_widths:
        widths = ", ".join(map(str, board.system.memory_widths))
        raise BoardError(f"{config}: axi_data_width = {cfg.axi_data_width}; {board.name} has {widths} bits")
    _check_files(folder, stem)
    return BuildResult(folder, board, cfg, stem)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a build folder. Raises BoardError when it is missing or damaged."""
    if not (folder / MANIFEST).exists():
        raise BoardError(f"{folder}: is no build folder, it has no {MANIFEST}; make one with `vta board build`")
    values = _json(folder / MANIFEST)
    if not _STEM.fullmatch(str(values.get("stem"))):
        raise BoardError(f"{folder / MANIFEST}: stem {values.get('stem')!r} is no plain file name; {_AGAIN}")
    return values


def _check_files(folder: Path, stem: str) -> None:
    """Refuse a missing bitstream, and files of another stem, by which someone would describe the wrong one."""
    if not (folder / f"{stem}.bit").exists():
        raise BoardError(f"{folder / stem}.bit: is missing; run the command in {folder / 'README.md'} first")
    for suffix in (".bit", ".hwh"):
        for file in sorted(folder.glob(f"*{suffix}")):
            if file.stem != stem:
                raise BoardError(f"{file}: is not of this build, whose files are {stem}.*; move it elsewhere")


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(_read(path, _TEXT_LIMIT).decode())
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise BoardError(f"{path}: is damaged ({reason}); {_AGAIN}") from None
    if not isinstance(values, dict):
        raise BoardError(f"{path}: is damaged (a table was expected); {_AGAIN}")
    return values


def _read(path: Path, limit: int) -> bytes:
    try:
        if path.stat().st_size > limit:
            raise BoardError(f"{path}: {path.stat().st_size} bytes is too large (limit {limit})")
        return path.read_bytes()
    except OSError as error:
        raise BoardError(f"{path}: cannot be read: {error.strerror}") from None
