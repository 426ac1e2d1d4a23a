"""What a build leaves in its folder: a record of board and configuration, and the tools' files under one stem."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from vta_arch.config import VTAConfig
from vta_arch.errors import BoardError, ConfigError
from vta_arch.files import write_text

from .bitstream import LIMIT, SYNC_WORD, WORD_BYTES, Bitstream, read_bit
from .board import Board, find_board

RECORD = "build.json"
_RECORD_LIMIT = 1 << 20
_STEM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_SYNC_WITHIN = 4096


def stem_of(board: Board, cfg: VTAConfig) -> str:
    """The name of a build's files, without suffix: the board and the fingerprint of the configuration."""
    return f"vta_{board.key}_{cfg.fingerprint_hex}"


@dataclass(frozen=True)
class Build:
    """A build: for which board, of which configuration, and where its files are."""

    folder: Path
    board: Board
    config: VTAConfig
    stem: str

    def file(self, suffix: str) -> Path:
        """Path of one of its files, which need not exist."""
        return self.folder / f"{self.stem}{suffix}"

    def write_record(self) -> None:
        """Write the record that :func:`read_build` reads. Raises DataError."""
        values = {"board": self.board.key, "stem": self.stem, "fingerprint": self.config.fingerprint_hex}
        text = json.dumps({**values, "config": self.config.to_dict()}, indent=2)
        write_text(self.folder / RECORD, text + "\n")

    def bitstream(self) -> Bitstream:
        """Its bitstream. Raises BoardError when it is missing, damaged, or for another device."""
        found = read_bit(_read(self.file(".bit"), LIMIT), str(self.file(".bit")))
        wanted = self.board.device.removeprefix("xc")
        if not wanted.startswith(found.part.removeprefix("xc").split("-")[0]) or not found.part:
            raise BoardError(
                f"{self.file('.bit')}: is for the device {found.part!r}, {self.board.name} has {self.board.device}"
            )
        return found

    def binary(self) -> bytes:
        """Contents of the ``.bin``: the tool's where it wrote one, else made from the bitstream. Raises BoardError."""
        if not self.file(".bin").exists():
            return self.bitstream().to_bin(self.board.system)
        data = _read(self.file(".bin"), LIMIT)
        swapped = SYNC_WORD[::-1]
        allowed = (swapped,) if self.board.system.family == "zynq7" else (swapped, SYNC_WORD)
        places = [data.find(word, 0, _SYNC_WITHIN) for word in allowed]
        if not any(place >= 0 and place % WORD_BYTES == 0 for place in places):
            raise BoardError(
                f"{self.file('.bin')}: is not in fpga_manager's byte order; remove it, and it is made from the .bit"
            )
        return data


def read_build(folder: Path, board: Board) -> Build:
    """The build in a folder, its parts checked against each other.

    Raises BoardError when it has no record or bitstream, is for another board, its files have several stems, or its
    fingerprint is not that of its configuration.
    """
    record = folder / RECORD
    try:
        values = json.loads(_read(record, _RECORD_LIMIT).decode())
        stem, key, fingerprint = (str(values[name]) for name in ("stem", "board", "fingerprint"))
        cfg = VTAConfig.from_dict(values["config"], source=str(record))
    except (ValueError, KeyError, TypeError, RecursionError, ConfigError) as error:
        reason = " ".join(str(error).split())
        raise BoardError(f"{record}: is no record of a build ({reason}); build again with `vta board build`") from None
    if key != board.key:
        raise BoardError(f"{folder}: is a build for {find_board(key).name}, not for {board.name}; name its own board")
    if not _STEM.fullmatch(stem):
        raise BoardError(f"{record}: stem {stem!r} is no plain file name; build again")
    if cfg.fingerprint_hex != fingerprint or not stem.endswith(fingerprint):
        raise BoardError(
            f"{folder}: its files {stem} are of fingerprint {fingerprint}, configuration {cfg.name!r} has "
            f"{cfg.fingerprint_hex}; build again"
        )
    build = Build(folder, board, cfg, stem)
    if not build.file(".bit").exists():
        raise BoardError(f"{build.file('.bit')}: is missing; run the command in {folder / 'README.md'} first")
    _check_stems(build)
    return build


def _check_stems(build: Build) -> None:
    """Refuse bitstreams of another stem: someone would flash one and describe it by the other's files."""
    for suffix in (".bit", ".bin", ".hwh", ".xsa"):
        for file in sorted(build.folder.glob(f"*{suffix}")):
            if file.stem != build.stem:
                raise BoardError(f"{file}: is not of this build, whose files are {build.stem}.*; move it elsewhere")


def _read(path: Path, limit: int) -> bytes:
    try:
        if path.stat().st_size > limit:
            raise BoardError(f"{path}: {path.stat().st_size} bytes is too large (limit {limit})")
        return path.read_bytes()
    except OSError as error:
        raise BoardError(f"{path}: cannot be read: {error.strerror}") from None
