"""``vta model``: well-known architectures with random weights."""

from __future__ import annotations

from typing import Annotated

import typer
from vta_arch.errors import ModelError
from vta_sw.models import MODELS

from ..options import Output
from ..output import print_done


def model(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"Architecture: {', '.join(MODELS)}.")],
    output: Output,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Seed of the random weights.")] = 0,
) -> None:
    """Write a well-known architecture with seeded random weights as ONNX.

    Example: `vta model resnet18 -o build/resnet18.onnx --seed 1`
    """
    from vta_sw.frontend import save_model

    if name not in MODELS:
        raise ModelError(f"model {name!r} is unknown; known models: {', '.join(MODELS)}")
    made = MODELS[name](seed)
    save_model(made, output)
    print_done(f"{output}: {name}, {len(made.graph.node)} nodes, seed {seed}")
