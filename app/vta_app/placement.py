"""Options of the sub-commands that decide where a network's nodes run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from vta_sw.offload import Offload

if TYPE_CHECKING:
    from vta_arch.config import VTAConfig
    from vta_sw.cpu_model import CpuProfile
    from vta_sw.lower.choice import TilingChoice
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
NoFuse = Annotated[
    list[str] | None, typer.Option("--no-fuse", metavar="NODE[,NODE]", help="Keep these apart from their neighbours.")
]
CpuProfileOption = Annotated[
    str | None,
    typer.Option("--cpu-profile", metavar="NAME|FILE", help="Host whose times are compared (default: the board's)."),
]

TunedOption = Annotated[bool, typer.Option("--tuned/--untuned", help="Use the tilings that `vta tune` found.")]


def placement_options(
    offload: Offload, keep: list[str] | None, force: list[str] | None, no_fuse: list[str] | None
) -> PlacementOptions:
    """What the options ask of the compiler."""
    from vta_sw.placement import PlacementOptions

    return PlacementOptions(offload, split_names(keep), split_names(force), split_names(no_fuse))


def split_names(values: list[str] | None) -> tuple[str, ...]:
    """``["a,b", "c"]`` -> ``("a", "b", "c")``."""
    return tuple(name.strip() for text in values or [] for name in text.split(",") if name.strip())


def tuned_choice(cfg: VTAConfig, use: bool) -> TilingChoice:
    """The choice of tilings: with what tuning found for the configuration, if wanted. Raises DataError."""
    from vta_sw.lower.choice import TilingChoice

    from .tuned_cache import load_tuned

    return TilingChoice({key: item.sizes for key, item in load_tuned(cfg).items()} if use else None)


def host(cfg: VTAConfig, name: str | None) -> CpuProfile:
    """The profile called ``name`` or in that file; without one that of the configuration's board. Raises DataError."""
    from vta_sw.cpu_model import load_profile, profile_of

    return profile_of(cfg.board) if name is None else load_profile(name)
