"""The build folder of a board: everything that a flow needs, a page to read, and what comes out under one stem."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

from vta_arch.config import VTAConfig
from vta_arch.errors import BoardError
from vta_arch.files import write_bytes, write_text

from .board import Board
from .build_page import build_page
from .build_result import CONFIG, MANIFEST, BuildResult, read_manifest
from .flow import Flow
from .openxc7 import OPENXC7, openxc7_files
from .vivado import VIVADO, vivado_files

PRODUCTS = {"vivado": (".bit", ".hwh", ".bin", ".xsa"), "openxc7": (".bit", ".bin")}
"""Endings of what a flow makes."""
FLOWS: dict[str, Flow] = {"vivado": VIVADO, "openxc7": OPENXC7}
_FILES: dict[str, Callable[[Board, VTAConfig, str], dict[str, str]]] = {
    "vivado": vivado_files,
    "openxc7": openxc7_files,
}


@dataclasses.dataclass(frozen=True)
class Build:
    """A board, a configuration and a flow that fit together.

    Raises BoardError when the board's memory port is narrower than the configuration's, has fewer address bits, or
    the flow is unknown.
    """

    board: Board
    cfg: VTAConfig
    flow: str

    def __post_init__(self) -> None:
        board, cfg = self.board, self.cfg
        if self.flow not in FLOWS:
            raise BoardError(f"flow {self.flow!r} is unknown; known flows: {', '.join(FLOWS)}")
        if cfg.axi_data_width not in board.system.memory_widths:
            widths = ", ".join(map(str, board.system.memory_widths))
            raise BoardError(
                f"configuration {cfg.name}: axi_data_width = {cfg.axi_data_width}; {board.system.memory_port} of "
                f"{board.name} has {widths} bits; use --config {board.preset} or change axi_data_width"
            )

    @property
    def stem(self) -> str:
        """Name of all products: board and configuration, said once where they have the same name."""
        names = dict.fromkeys((self.board.key, self.cfg.name))
        return "_".join(["vta", *("".join(letter if letter.isalnum() else "_" for letter in name) for name in names)])

    @property
    def products(self) -> list[str]:
        """File names that the flow makes."""
        return [self.stem + ending for ending in PRODUCTS[self.flow]]

    def manifest(self) -> dict[str, object]:
        """Contents of :data:`MANIFEST`."""
        return {
            "board": self.board.key,
            "config": self.cfg.name,
            "fingerprint": self.cfg.fingerprint_hex,
            "clock_mhz": self.cfg.clock_mhz,
            "control_base": self.board.system.control_base,
            "flow": self.flow,
            "stem": self.stem,
        }

    def files(self) -> dict[str, str]:
        """Name -> text of the whole folder."""
        files = _FILES[self.flow](self.board, self.cfg, self.stem)
        flow = FLOWS[self.flow]
        return files | {
            CONFIG: json.dumps(self.cfg.to_dict(), indent=2) + "\n",
            MANIFEST: json.dumps(self.manifest(), indent=2) + "\n",
            "README.md": build_page(self.board, self.cfg, self.flow, flow.command, self.products, sorted(files)),
        }


def write_folder(folder: Path, plan: Build) -> list[str]:
    """Write a build folder, file by file, the manifest last.

    What the tools made of other files there is removed first, lest somebody take it for what these files give; the
    names of what was removed are returned. Raises BoardError where a file, another board's build, another flow's or
    anything else is in the way, DataError when the folder cannot be written.
    """
    earlier = _earlier_products(folder, plan)
    files = plan.files()
    removed = [] if all(_holds(folder / name, text) for name, text in files.items()) else earlier
    try:
        for name in removed:
            (folder / name).unlink()
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BoardError(f"{folder}: cannot be written: {error.strerror}; give another folder with --output") from None
    for name in sorted(files, key=lambda name: name == MANIFEST):
        write_text(folder / name, files[name])
    return removed


def _earlier_products(folder: Path, plan: Build) -> list[str]:
    """Names of what the tools made in a folder before. Raises BoardError when it may not be used for ``plan``."""
    if not folder.exists():
        return []
    if not folder.is_dir():
        raise BoardError(f"{folder}: is a file; give a folder with --output")
    if not any(folder.iterdir()):
        return []
    if not (folder / MANIFEST).exists():
        raise BoardError(f"{folder}: is not empty and holds no build; give another folder with --output")
    earlier, now = read_manifest(folder), plan.manifest()
    for what in ("board", "flow"):
        if earlier.get(what) != now[what]:
            raise BoardError(
                f"{folder}: holds a build of {what} {earlier.get(what)!r}, this one is of {now[what]!r}; "
                "give another folder with --output"
            )
    names = [f"{earlier['stem']}{ending}" for ending in PRODUCTS[plan.flow]]
    return [name for name in names if (folder / name).is_file()]


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_bytes() == text.encode()
    except OSError:
        return False


def finish(folder: Path, plan: Build) -> None:
    """After the tools: the .bin where they make none, and a look that every product is there. Raises BoardError."""
    result = BuildResult(folder, plan.board, plan.cfg, plan.stem)
    binary = result.file(".bin")
    if binary.name in plan.products and not binary.exists() and result.file(".bit").exists():
        write_bytes(binary, result.binary())
    absent = [name for name in plan.products if not (folder / name).is_file()]
    if absent:
        raise BoardError(f"{folder}: {plan.flow} ended without {', '.join(absent)}; see {FLOWS[plan.flow].log}")
