"""``vta exec``: a raw instruction stream, made by any VTA compiler, against expected memory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from vta_arch.errors import DeviceError
from vta_arch.presets import DEFAULT_PRESET, load_config

from ..devices import Backend, open_device
from ..options import Config, JsonFile
from ..output import progress_bars, write_json


def exec(
    manifest: Annotated[Path, typer.Argument(metavar="M.json", help="Instructions, memory and expected regions.")],
    config: Config = DEFAULT_PRESET,
    backend: Annotated[Backend, typer.Option("--backend", help="What runs it.")] = Backend.FUNCTIONAL,
    json: JsonFile = None,
) -> None:
    """Run a raw instruction stream and compare memory with what is expected.

    M.json: `{"instructions": FILE, "memory": [{"address": A, "file": FILE}], "bases": {"uop": A},
    "expect": [{"address": A, "file": FILE}]}`; paths relative to it, addresses in bytes. The exit status is 0 only
    if every expected region matches.

    Example: `vta exec stream/M.json --config classic --backend rtl`
    """
    from vta_sim.stream_manifest import run_manifest

    cfg = load_config(config)
    with progress_bars() as progress, open_device(backend, cfg, progress) as device:
        report = run_manifest(manifest, device)
    if json is not None:
        write_json(json, {"backend": backend.value, **report.to_dict()})
    lines = report.lines()
    if not report.passed:
        raise DeviceError(f"{manifest} on {backend}: {'; '.join(lines)}")
    print("\n".join(lines))
