"""``vta profile-cpu``: the rates of the machine that it runs on."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ..options import check_output
from ..output import print_done, print_table


def profile_cpu(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="F.toml|F.json", callback=check_output, help="Write the profile."),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="What the profile is called.")] = "measured",
    seconds: Annotated[float, typer.Option("--seconds", min=0.01, help="Time for each of the measurements.")] = 0.3,
) -> None:
    """Measure how fast this machine runs what a network leaves to its CPU; `vta compile --cpu-profile` takes the file.

    The time of a launch is not measured here: it stays that of a Cortex-A53.

    Example: `vta profile-cpu -o build/host.toml`
    """
    from ..cpu_profiling import measure_host

    profile = measure_host(name, seconds)
    if output is not None:
        from vta_sw.cpu_model import save_profile

        save_profile(profile, output)
        print_done(f"{output}: profile {name}")
    print_table(
        ["rate", "value"], [[key, value if key == "name" else f"{value:.3g}"] for key, value in asdict(profile).items()]
    )
