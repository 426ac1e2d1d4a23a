"""``vta compile``: a quantized network to a program."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from vta_arch.presets import DEFAULT_PRESET, load_config
from vta_arch.program import Program
from vta_runtime.evaluators import Evaluator
from vta_sw.offload import Offload

from ..options import Batch, Config, Output, Shape, parse_shapes
from ..output import print_done, progress_bars
from ..placement import (
    CpuProfileOption,
    Force,
    KeepOnCpu,
    NoFuse,
    OffloadOption,
    TunedOption,
    host,
    placement_options,
    tuned_choice,
)


def compile(
    network: Annotated[Path, typer.Argument(metavar="Q.onnx", help="Quantized (QDQ) network.")],
    output: Output,
    config: Config = DEFAULT_PRESET,
    batch: Batch = None,
    shape: Shape = None,
    offload: OffloadOption = Offload.AUTO,
    keep_on_cpu: KeepOnCpu = None,
    force: Force = None,
    no_fuse: NoFuse = None,
    cpu_profile: CpuProfileOption = None,
    tuned: TunedOption = True,
    cpu: Annotated[
        Evaluator, typer.Option("--cpu", help="What will run the rest: numpy knows few operators, others are refused.")
    ] = Evaluator.ONNXRUNTIME,
    packing: Annotated[
        str,
        typer.Option(
            "--packing",
            metavar="time|cycles|none",
            help="What decides how the CPU packs a first layer's input: time of both, or the accelerator's cycles.",
        ),
    ] = "time",
) -> None:
    """Compile a quantized network to a program for one configuration.

    What the accelerator makes faster runs there, conversions included; `vta explain` shows the decision.

    Example: `vta compile build/digits_q.onnx -o build/digits.vta`
    """
    from vta_sw.compiler import compile as compile_model
    from vta_sw.trials import processes_at_hand

    cfg = load_config(config)
    options, profile = placement_options(offload, keep_on_cpu, force, no_fuse), host(cfg, cpu_profile)
    choice = tuned_choice(cfg, tuned)
    with progress_bars() as progress:
        program = compile_model(
            network,
            cfg,
            batch=batch,
            shapes=parse_shapes(shape),
            packing=packing,
            progress=progress,
            placement=options,
            cpu=profile,
            choice=choice,
            processes=processes_at_hand(),
        )
    if cpu is Evaluator.NUMPY:
        from vta_runtime.numpy_cpu import check_numpy

        check_numpy(program)
    program.save(output)
    print_done(f"{output}: {len(program.layers)} layers for {cfg.name} ({cfg.fingerprint_hex})")
    _print(program, len(choice.from_tuning))


def _print(program: Program, tuned: int) -> None:
    """What was decided: ``tuned`` tilings, packings, and what the accelerator does not run."""
    if tuned:
        print_done(f"tilings of {tuned} layer shapes are those that `vta tune` found")
    for name, packing_choice in program.choices.items():
        print_done(f"input of {name!r}: {packing_choice.partition('; ')[0]}")
    on_cpu = program.on_cpu
    if on_cpu:
        name, reason = next(iter(on_cpu.items()))
        print_done(f"{len(on_cpu)} more stay on the CPU: {name!r} because {reason}" + _others(on_cpu))
    if len(program.offload) > len(on_cpu):
        print_done(f"{len(program.offload) - len(on_cpu)} more are fused into those layers")


def _others(offload: Mapping[str, str]) -> str:
    return f", and {len(offload) - 1} others" if len(offload) > 1 else ""
