"""Options of the sub-commands that decide where a network's nodes run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from vta_sw.offload import Offload

if TYPE_CHECKING:
    from vta_arch.config import VTAConfig
    from vta_sw.cpu_model import CpuProfile
    from vta_sw.placement import PlacementOptions

OffloadOption = Annotated[
    Offload, typer.Option("--offload", help="auto: what the accelerator makes faster; all: what it can run; none.")
]
KeepOnCpu = Annotated[
    list[str] | None,
    typer.Option("--keep-on-cpu", metavar="NODE[,NODE]", help="Leave these on the CPU; * and ? stand for any text."),
]
Force = Annotated[
    list[str] | None, typer.Option("--force", metavar="NODE[,NODE]", help="Run these on the accelerator.")
]
CpuProfileOption = Annotated[
    str | None,
    typer.Option("--cpu-profile", metavar="NAME|FILE", help="Host whose times are compared (default: the board's)."),
]


def placement_options(offload: Offload, keep: list[str] | None, force: list[str] | None) -> PlacementOptions:
    """What the options ask of the compiler."""
    from vta_sw.placement import PlacementOptions

    return PlacementOptions(offload, split_names(keep), split_names(force))


def split_names(values: list[str] | None) -> tuple[str, ...]:
    """``["a,b", "c"]`` -> ``("a", "b", "c")``."""
    return tuple(name.strip() for text in values or [] for name in text.split(",") if name.strip())


def host(cfg: VTAConfig, name: str | None) -> CpuProfile:
    """The profile called ``name`` or in that file; without one that of the configuration's board. Raises DataError."""
    from vta_sw.cpu_model import load_profile, profile_of

    return profile_of(cfg.board) if name is None else load_profile(name)
