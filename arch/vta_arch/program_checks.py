"""Consistency of a program that was read from a file: layers fit their tensors, steps have an order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .config import REQ_CHANNEL_BYTES
from .errors import ProgramError
from .packing import WINDOW_LIMIT, PackStep, is_compact
from .program import INTEGER_TYPES, OPERATORS, Layer, Region, Step, Tensor

_STEP_LIMIT = 1 << 16
_SHIFT_LIMIT = 32
_INPUT_LIMIT = 1 << 12

_LIMITS = {"low": 1, "high": 1}
_WINDOW = {"kernel": 2, "strides": 2, "pads": 4, "dilations": 2}

ATTRIBUTE_SIZES: dict[str, dict[str, int]] = {
    "conv": _WINDOW | {"pad_value": 1} | _LIMITS,
    "conv_transpose": _WINDOW | {"pad_value": 1} | _LIMITS,
    "add": {"factors": 2, "shift": 1, "bias": 1} | _LIMITS,
    "maxpool": _WINDOW | {"pad_value": 1, "shift": 1} | _LIMITS,
    "rectify": {"factors": 2, "floor": 1, "shift": 1} | _LIMITS,
    "select": _LIMITS,
    "upsample": {"factors": 2, "shift": 1} | _LIMITS,
}
ARRAY_RANKS: dict[str, dict[str, int]] = {op: {} for op in OPERATORS} | {
    "conv": {"weight": 4, "bias": 1, "shift": 1},
    "conv_transpose": {"weight": 4, "bias": 1, "shift": 1},
    "select": {"channels": 1, "bias": 1, "shift": 1},
}
REQUANT_ATTRIBUTE_SIZES: dict[str, dict[str, int]] = {
    "conv": _WINDOW | {"pad_value": 1},
    "conv_transpose": _WINDOW | {"pad_value": 1},
    "add": {"factors": 2},
    "maxpool": _WINDOW | {"pad_value": 1},
    "rectify": {"factors": 2, "floor": 1},
    "select": {},
    "upsample": {"factors": 2},
}
"""Attributes of a layer with the array ``requant``."""
REQUANT_ARRAY_RANKS: dict[str, dict[str, int]] = {op: {"requant": 2} for op in OPERATORS} | {
    "conv": {"weight": 4, "requant": 2},
    "conv_transpose": {"weight": 4, "requant": 2},
    "select": {"channels": 1, "requant": 2},
}
_REQ_WORDS = REQ_CHANNEL_BYTES // 4
_ONE_INPUT = ("conv", "conv_transpose", "maxpool", "rectify", "upsample")
_POOL = {"pool_kernel": 2, "pool_strides": 2, "pool_pads": 4}


def check_layer(layer: Layer, tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse a layer whose operator, tensors, attributes or arrays do not fit together.

    ``shapes`` are those of the program's arrays by name. Raises ProgramError naming the layer.
    """
    if layer.op not in OPERATORS:
        raise ProgramError(f"program manifest: layer {layer.name!r} has the unknown operator {layer.op!r}")
    pair = layer.op == "add" or "requant_add" in layer.arrays
    least, most = (1, _INPUT_LIMIT) if layer.op == "select" else (2, 2) if pair else (1, 1)
    if not least <= len(layer.inputs) <= most:
        raise ProgramError(f"program manifest: layer {layer.name!r} has {len(layer.inputs)} inputs")
    for name, needed in [*((n, "inp_offset") for n in layer.inputs), (layer.output, "out_offset")]:
        if name not in tensors or getattr(tensors[name], needed) < 0:
            raise ProgramError(
                f"program manifest: layer {layer.name!r} uses tensor {name!r} that has no place in the arena"
            )
    requant = "requant" in layer.arrays
    sizes, ranks = (REQUANT_ATTRIBUTE_SIZES, REQUANT_ARRAY_RANKS) if requant else (ATTRIBUTE_SIZES, ARRAY_RANKS)
    attributes, arrays = dict(sizes[layer.op]), dict(ranks[layer.op])
    if layer.op == "conv" and requant and "requant_add" in layer.arrays:
        attributes["factors"] = arrays["requant_add"] = 2
    elif layer.op == "conv" and requant and "pool_kernel" in layer.attributes:
        attributes |= _POOL
    if "positions" in layer.attributes and layer.op in _ONE_INPUT:
        attributes["positions"] = 2
    if {key: len(value) for key, value in layer.attributes.items()} != attributes:
        raise ProgramError(f"program manifest: layer {layer.name!r} has wrong attributes for {layer.op}")
    if {key: len(shapes.get(array, ())) for key, array in layer.arrays.items()} != arrays:
        raise ProgramError(f"program manifest: layer {layer.name!r} has wrong arrays for {layer.op}")
    if not _consistent(layer, tensors, shapes):
        raise ProgramError(
            f"program manifest: layer {layer.name!r}: its tensors, arrays and attributes do not fit together"
        )


def _consistent(layer: Layer, tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether the output has the shape that the layer makes of its inputs."""
    check = {"conv": _conv_fits, "conv_transpose": _conv_fits, "maxpool": _pool_fits, "select": _select_fits}
    return check.get(layer.op, _scaled_fits)(layer, tensors, shapes)


def _input_shape(layer: Layer, tensors: Mapping[str, Tensor]) -> tuple[int, ...]:
    """The first input as [N, C, H, W] as the layer sees it; () for positions that are not the tensor's."""
    n, c, h, w = tensors[layer.inputs[0]].nchw
    rows, cols = layer.attributes.get("positions", (h, w))
    return (n, c, rows, cols) if rows > 0 and rows * cols == h * w else ()


def _alike(shapes: Iterable[tuple[int, ...]]) -> bool:
    """Whether tensors [N, C, H, W] differ in nothing but how their positions are split into rows."""
    return len({(n, c, h * w) for n, c, h, w in shapes}) == 1


def _one_scale(layer: Layer, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether all channels share one shift or one set of parameters."""
    if "requant" in layer.arrays:
        return shapes[layer.arrays["requant"]] == (1, _REQ_WORDS)
    return abs(layer.scalar("shift")) < _SHIFT_LIMIT


def _scaled_fits(layer: Layer, tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """add, rectify and upsample: each position by itself, or repeated."""
    first, second = layer.attributes["factors"]
    if max(abs(first), abs(second)) >= 1 << _SHIFT_LIMIT or (layer.op != "rectify" and min(first, second) < 1):
        return False
    if layer.op != "upsample":
        fits = _alike(tensors[name].nchw for name in (*layer.inputs, layer.output))
        return fits and bool(_input_shape(layer, tensors)) and _one_scale(layer, shapes)
    n, c, h, w = _input_shape(layer, tensors) or (0, 0, 0, 0)
    return tensors[layer.output].nchw == (n, c, h * first, w * second) and _one_scale(layer, shapes)


def _select_fits(layer: Layer, tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Channels of inputs that are alike otherwise. (Their indices are checked when they are used.)"""
    n, c, h, w = tensors[layer.output].nchw
    vectors = {shapes[array] for array in layer.arrays.values()}
    expected = {(c,), (c, _REQ_WORDS)} if "requant" in layer.arrays else {(c,)}
    inputs = [tensors[name].nchw for name in layer.inputs]
    return vectors == expected and all((shape[0], shape[2] * shape[3]) == (n, h * w) for shape in inputs)


def _pool_fits(layer: Layer, tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> bool:
    return _window_fits(layer, tensors, tensors[layer.inputs[0]].nchw[1]) and _one_scale(layer, shapes)


def _conv_fits(layer: Layer, tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> bool:
    c = tensors[layer.inputs[0]].nchw[1]
    weight = shapes[layer.arrays["weight"]]
    vectors = {shapes[array] for key, array in layer.arrays.items() if key not in ("weight", "requant_add")}
    if "requant_add" in layer.arrays and not _adds(layer, tensors, shapes):
        return False
    expected = (weight[0], _REQ_WORDS) if "requant" in layer.arrays else weight[:1]
    groups, rest = divmod(c, weight[1]) if weight[1] else (0, 1)
    kernel = layer.attributes["kernel"]
    if rest or groups == 0 or weight[0] % groups or weight[2:] != kernel or vectors != {expected}:
        return False
    fits = _transposed_fits if layer.op == "conv_transpose" else _window_fits
    return fits(layer, tensors, weight[0])


def _transposed_fits(layer: Layer, tensors: Mapping[str, Tensor], channels: int) -> bool:
    """Whether windows of the one input, its values ``strides`` apart, make the output, of ``channels`` channels.

    Negative padding leaves values at the border out.
    """
    n, _, *size = _input_shape(layer, tensors) or (0, 0, 0, 0)
    strides, dilations, kernel, pads = (layer.attributes[key] for key in ("strides", "dilations", "kernel", "pads"))
    if min(*strides, *dilations, *kernel, *size) < 1 or max(*strides, *dilations, *kernel) > _STEP_LIMIT:
        return False
    wide = [(size[i] - 1) * strides[i] + 1 for i in range(2)]
    if not all(-wide[i % 2] < pads[i] <= _STEP_LIMIT for i in range(4)):
        return False
    made = (wide[i] + pads[i] + pads[i + 2] - (kernel[i] - 1) * dilations[i] for i in range(2))
    return tensors[layer.output].nchw == (n, channels, *made)


def _window_fits(layer: Layer, tensors: Mapping[str, Tensor], channels: int) -> bool:
    """Whether the windows of the one input make the output's height and width, of ``channels`` channels."""
    n, _, *size = _input_shape(layer, tensors) or (0, 0, 0, 0)
    named = layer.attributes
    steps, pads = (*named["strides"], *named["dilations"], *named["kernel"]), named["pads"]
    if min(steps) < 1 or max(steps) > _STEP_LIMIT or min(pads) < 0 or max(pads) > _STEP_LIMIT:
        return False
    spans = [size[i] + pads[i] + pads[i + 2] - (named["kernel"][i] - 1) * named["dilations"][i] - 1 for i in range(2)]
    made = (n, channels, *(span // stride + 1 for span, stride in zip(spans, named["strides"], strict=True)))
    if min(spans) < 0:
        return False
    return tensors[layer.output].nchw == (_pooled(layer, made) if "pool_kernel" in named else made)


def _pooled(layer: Layer, made: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that a fused pool makes of ``made``; none for a pool that cannot be."""
    kernel, strides, pads = (layer.attributes[key] for key in _POOL)
    if not all(0 <= pads[i] < kernel[i % 2] <= _STEP_LIMIT for i in range(4)) or min(strides) < 1:
        return ()
    return (*made[:2], *((made[2 + i] + pads[i] + pads[i + 2] - kernel[i]) // strides[i] + 1 for i in range(2)))


def _adds(layer: Layer, tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether the shortcut of a fused add, its factors and parameters fit the layer's output."""
    same = _alike(tensors[name].nchw for name in (layer.inputs[1], layer.output))
    factors = all(0 < value < 1 << _SHIFT_LIMIT for value in layer.attributes["factors"])
    return same and factors and shapes[layer.arrays["requant_add"]] == (1, _REQ_WORDS)


def check_order(
    steps: tuple[Step, ...], layers: Mapping[str, Layer], inputs: tuple[str, ...], outputs: tuple[str, ...]
) -> None:
    """Raises ProgramError unless every tensor is made before it is used."""
    made = set(inputs)
    for number, step in enumerate(steps):
        parts = (
            [(layers[name].inputs, (layers[name].output,)) for name in step.layers]
            if isinstance(step, Region)
            else [(step.inputs, step.outputs)]
        )
        for needed, results in parts:
            if not set(needed) <= made:
                raise ProgramError(
                    f"program manifest: step {number} uses {sorted(set(needed) - made)[0]!r} before it is made"
                )
            made.update(results)
    if not set(outputs) <= made:
        raise ProgramError(f"program manifest: output {sorted(set(outputs) - made)[0]!r} is never made")


def check_pack(step: PackStep, tensors: Mapping[str, Tensor]) -> None:
    """Raises ProgramError unless the step's numbers are sane and fit its tensors, which have 4 dimensions."""
    source, packed = tensors.get(step.input), tensors.get(step.output)
    if source is None or packed is None or source is packed:
        raise ProgramError(f"program manifest: packing {step.output!r} names a tensor that does not exist")
    pairs = {"window": (step.window, 1), "strides": (step.strides, 1), "dilations": (step.dilations, 1)}
    for name, (pair, least) in (pairs | {"before": (step.before, 0)}).items():
        if len(pair) != 2 or not all(least <= value <= WINDOW_LIMIT for value in pair):
            raise ProgramError(
                f"program manifest: packing {step.output!r}: {name} is not two numbers from {least} to {WINDOW_LIMIT}"
            )
    fits = source.is_integer and packed.dtype == source.dtype and packed.inp_offset >= 0
    fits = fits and len(source.shape) == len(packed.shape) == 4 and 0 not in source.shape
    channels = step.window[0] * step.window[1] * source.shape[1] if fits else 0
    if not fits or packed.shape[:2] != (source.shape[0], channels):
        raise ProgramError(f"program manifest: packing {step.output!r} does not fit its tensors' types and shapes")
    if not is_compact(step, source.shape, packed.shape):
        raise ProgramError(f"program manifest: packing {step.output!r} reaches far beyond its source {step.input!r}")
    width, signed = INTEGER_TYPES[source.dtype]
    if not -(1 << width - 1) * signed <= step.value < 1 << (width - signed):
        raise ProgramError(f"program manifest: packing {step.output!r} pads with {step.value}, not a value of it")
