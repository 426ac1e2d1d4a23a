"""Inputs and outputs of an exported program: names, types, shapes, and the scales of integers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from vta_arch.errors import ProgramError
from vta_arch.program import CpuStep, Program, Tensor
from vta_runtime.onnx_file import Model, Node, read_model

from . import c_text
from .cpu_nodes import MAX_RANK
from .schedule import elements, port_bytes

Scales = Mapping[str, tuple[np.float32, int]]


def border_scales(whole: Program, part: Program) -> Scales:
    """Scale and zero point of the integers at the borders of ``part``, where an operator of ``whole`` says them."""
    found: dict[str, tuple[np.float32, int]] = {}
    wanted = {name: part.tensors[name] for name in (*part.inputs, *part.outputs) if part.tensors[name].is_integer}
    for step in whole.steps:
        if not isinstance(step, CpuStep):
            continue
        model = read_model(step.model)
        for node in model.nodes:
            for name, tensor in wanted.items():
                if name not in found and _is_border(node, tensor):
                    found |= _scale(name, node, model)
    return found


def _is_border(node: Node, tensor: Tensor) -> bool:
    """Whether a node quantizes into a tensor or dequantizes it, and does not just let it cross as floats."""
    if node.op_type == "QuantizeLinear":
        return node.outputs[0] == tensor.name and node.inputs[0] != tensor.port
    if node.op_type == "DequantizeLinear":
        return node.inputs[0] == tensor.name and node.outputs[0] != tensor.port
    return False


def _scale(name: str, node: Node, model: Model) -> dict[str, tuple[np.float32, int]]:
    scale = model.constants.get(node.inputs[1])
    zero_name = node.inputs[2] if len(node.inputs) > 2 else ""
    zero = model.constants.get(zero_name) if zero_name else np.zeros(1, np.int32)
    if scale is None or zero is None or scale.size != 1 or zero.size != 1 or not np.isfinite(scale).all():
        return {}
    return {name: (np.float32(scale.reshape(())), int(zero.reshape(())))}


def port_line(tensor: Tensor, scale: tuple[np.float32, int] | None) -> str:
    """An initializer of vta_port. Raises ProgramError for more dimensions than C has."""
    rank = len(tensor.shape)
    if rank > MAX_RANK:
        raise ProgramError(f"tensor {tensor.name!r} has {rank} dimensions: exported C has at most {MAX_RANK}")
    shape = ", ".join(map(str, tensor.shape)) or "0"
    factor, zero = scale if scale is not None else (np.float32(1), 0)
    head = f"{c_text.string(tensor.name)}, {c_text.string(tensor.dtype)}, {elements(tensor)}, {port_bytes(tensor)}"
    return f"    {{{head}, {rank}, {{{shape}}}, {c_text.number(factor)}, {zero}, {int(scale is not None)}}},"


def port_names(prefix: str, what: str, names: tuple[str, ...]) -> str:
    """Macros of how many there are and of each one's place."""
    lines = [f"#define {prefix}_{what}S {len(names)}"]
    places = zip(c_text.macro_names(names), names, strict=True)
    lines += [f"#define {prefix}_{what}_{macro} {n} {c_text.comment(name)}" for n, (macro, name) in enumerate(places)]
    return "\n".join(lines)
