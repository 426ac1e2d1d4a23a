"""When each tensor of a program is alive."""

from __future__ import annotations

from collections.abc import Sequence

from vta_arch.packing import PackStep
from vta_arch.program import Layer, Region, Step

from .memory import Lifetime


def find_lifetimes(
    steps: Sequence[Step], layers: Sequence[Layer], inputs: Sequence[str], outputs: Sequence[str]
) -> dict[str, Lifetime]:
    """The lifetime of every tensor that a step uses, in moments: one for each layer, and one for each step on the CPU.

    Before a region is launched all that it reads from elsewhere is written, so such tensors live from its first layer
    on; what the CPU reads of a layer lives until the CPU's step, and the network's outputs to the end.
    """
    by_name = {layer.name: layer for layer in layers}
    used: dict[str, list[int]] = {name: [0] for name in inputs}
    now = 0
    for step in steps:
        if not isinstance(step, Region):
            names = (step.input, step.output) if isinstance(step, PackStep) else (*step.inputs, *step.outputs)
            for name in names:
                used.setdefault(name, []).append(now)
            now += 1
            continue
        begin, made = now, set()
        for layer in (by_name[name] for name in step.layers):
            for name in layer.inputs:
                used.setdefault(name, []).extend([now] if name in made else [begin, now])
            used.setdefault(layer.output, []).append(now)
            made.add(layer.output)
            now += 1
    for name in outputs:
        used.setdefault(name, []).append(now)
    return {name: Lifetime(min(moments), max(moments)) for name, moments in used.items()}
