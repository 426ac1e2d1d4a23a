"""Which lowering each operator has, and what values a layer must have for any of them."""

from __future__ import annotations

from collections.abc import Callable

from vta_arch.config import VTAConfig

from ..graph.types import IntLayer
from .add import AddLowering
from .chain import ChainLowering
from .context import Context
from .conv import ConvLowering
from .depthwise import DepthwiseLowering
from .digits import DigitConvLowering, needs_digits
from .errors import NotLowerableError
from .select import SelectLowering
from .transposed import TransposedLowering
from .upsample import UpsampleLowering
from .weight_parts import MOST_PARTS, weight_parts

Lowering = ConvLowering | AddLowering | SelectLowering | UpsampleLowering

LOWERINGS: dict[str, Callable[[Context, IntLayer], Lowering]] = {
    "conv": ConvLowering,
    "conv_transpose": TransposedLowering,
    "depthwise": DepthwiseLowering,
    "digits": DigitConvLowering,
    "add": AddLowering,
    "maxpool": ChainLowering,
    "rectify": ChainLowering,
    "select": SelectLowering,
    "upsample": UpsampleLowering,
}
"""How each operator is lowered. Making one raises NotLowerableError when it cannot be."""


def check_types(cfg: VTAConfig, layer: IntLayer, *, inside: bool = False) -> None:
    """Raises NotLowerableError unless the layer's values fit the configuration's widths.

    ``inside``: what passes between a convolution and an add, which may stay in the accumulators, is not looked at:
    the convolution's output and the inputs of the add.
    """
    tensors = (*layer.inputs, layer.output)
    if inside and layer.op in ("conv", "add"):
        tensors = layer.inputs if layer.op == "conv" else (layer.output,)
    for tensor in tensors:
        if tensor.low < cfg.inp_min or tensor.high > cfg.inp_max:
            raise NotLowerableError(
                f"activation {tensor.name!r} of {tensor.dtype} has values from {tensor.low} to {tensor.high}, "
                f"configuration {cfg.name} holds {cfg.inp_min} to {cfg.inp_max}"
            )
    if not cfg.inp_min <= layer.pad_value <= cfg.inp_max:
        raise NotLowerableError(
            f"it pads its input with the integer {layer.pad_value}, configuration {cfg.name} holds {cfg.inp_min} to "
            f"{cfg.inp_max}"
        )
    weight = layer.weight
    if weight.size == 0:
        return
    if weight_parts(cfg, weight) > MOST_PARTS and not needs_digits(cfg, layer):
        raise NotLowerableError(
            f"its weights go from {weight.min()} to {weight.max()}, configuration {cfg.name} holds "
            f"{cfg.wgt_min} to {cfg.wgt_max} and adds up at most {MOST_PARTS} of them"
        )
    if cfg.wgt_width == 1 and not weight.all():
        raise NotLowerableError("a weight is 0, which 1-bit weights (+1 or -1) cannot be")


def lower(context: Context, layer: IntLayer) -> Lowering:
    """The lowering of a layer. Raises NotLowerableError with the reason when the configuration cannot run it."""
    kind = "depthwise" if layer.is_depthwise else "digits" if needs_digits(context.cfg, layer) else layer.op
    return LOWERINGS[kind](context, layer)
