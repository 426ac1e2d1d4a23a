"""Activations of the other signedness than the accelerator's: integers and zero point move by half the range.

Where their values are known and fit as they are, they do not move; on an accelerator of fewer than 8 bits they move so
that they fit, if there are few enough.

A uint8 activation with zero point z is an int8 activation with zero point z - 128, element by element. Types below
8 bits become int8 with a Clip in front of the QuantizeLinear, which keeps the values; onnxruntime misreads packed zero
points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper
from vta_arch.config import VTAConfig
from vta_arch.program import INTEGER_TYPES

from .qdq import NotALayerError, Scope, real_range, type_range
from .view import MOVES, TYPE_NUMBERS, GraphView, attributes

_BYTE = 8


@dataclass(frozen=True)
class _Quantized:
    """What a Q or DQ node says about its integers."""

    dtype: str
    scale: np.float32
    zero: int


def use_own_signs(model: onnx.ModelProto, cfg: VTAConfig) -> bool:
    """Rewrite the activations of ``model``, whose types are known, in place. True if there were any.

    Only where ``cfg`` has zero points; a tensor that others than Q and DQ nodes touch stays as it is.
    """
    if not cfg.extensions & {"requant", "pad_value"}:
        return False
    return _Rewriter(model, cfg).rewrite()


class _Rewriter:
    """One walk over the QuantizeLinear nodes of a model."""

    def __init__(self, model: onnx.ModelProto, cfg: VTAConfig) -> None:
        self._model, self._cfg = model, cfg
        self._view = GraphView(model)
        self._ranges = self._known_ranges()
        self._before: dict[int, list[NodeProto]] = {}
        self._after: dict[int, list[NodeProto]] = {}

    def rewrite(self) -> bool:
        """Rewrite all pairs, inputs and outputs; whether there were any."""
        changed: dict[str, str] = {}
        for index, node in enumerate(self._view.nodes):
            if node.op_type == "QuantizeLinear":
                changed |= self._pair(index)
        for name in self._view.inputs:
            self._input(name)
        if not changed and not self._before and not self._after:
            return False
        nodes = [
            item
            for index, node in enumerate(self._view.nodes)
            for item in (*self._before.get(index, ()), node, *self._after.get(index, ()))
        ]
        kept = [_copy(node) for node in nodes]
        del self._model.graph.node[:]
        self._model.graph.node.extend(kept)
        for value in self._model.graph.value_info:
            if value.name in changed:
                value.type.tensor_type.elem_type = TYPE_NUMBERS[changed[value.name]]
        return True

    def _read(self, index: int) -> _Quantized | None:
        """The type, scale and zero point of a Q or DQ node that has one of each, None for another."""
        node, view = self._view.nodes[index], self._view
        scale = view.constant(node.input[1])
        if scale is None or scale.size != 1 or attributes(node).get("block_size"):
            return None
        zero = node.input[2] if len(node.input) > 2 and node.input[2] else ""
        if not zero:
            integers = node.output[0] if node.op_type == "QuantizeLinear" else node.input[0]
            return _Quantized(view.types.get(integers, ""), np.float32(scale.reshape(-1)[0]), 0)
        value = view.constant(zero)
        if value is None or value.size != 1:
            return None
        return _Quantized(view.types[zero], np.float32(scale.reshape(-1)[0]), int(value.reshape(-1)[0]))

    def _known_ranges(self) -> dict[int, tuple[float, float]]:
        """Bounds of what each QuantizeLinear quantizes, as far as they are known; looked up before anything changes."""
        view, scope, found = self._view, Scope(self._cfg, {}), {}
        for index, node in enumerate(view.nodes):
            if node.op_type == "QuantizeLinear":
                try:
                    found[index] = real_range(view, node.input[0], scope)
                except NotALayerError:
                    continue
        return found

    def _fitted(self, index: int, item: _Quantized) -> tuple[str, int] | None:
        """The type and zero point with which the values of a QuantizeLinear fit a narrow accelerator, if any do."""
        cfg, real = self._cfg, self._ranges.get(index, (-np.inf, np.inf))
        if not np.all(np.isfinite(real)) or item.dtype not in INTEGER_TYPES or not item.scale > 0:
            return None
        least, most = type_range(item.dtype)
        whole = [np.rint(end / item.scale) + item.zero for end in real]
        if INTEGER_TYPES[item.dtype][0] == _BYTE and not (least <= whole[0] and whole[1] <= most):
            return None  # what the type cuts off would come back
        low, high = (int(np.clip(end, least, most)) for end in whole)
        fits = low >= cfg.inp_min and high <= cfg.inp_max
        zero = item.zero + (0 if fits else cfg.inp_min - low)
        dtype = "int8" if cfg.inp_is_signed else "uint8"
        limits = np.iinfo(dtype)
        if high - low > cfg.inp_max - cfg.inp_min or not limits.min <= zero <= limits.max:
            return None
        if not fits and cfg.inp_width == _BYTE:
            return None  # moved by half the range, as all others are
        return dtype, zero

    def _target(self, item: _Quantized, index: int = -1) -> tuple[str, int] | None:
        """The type and zero point that it gets, None if it stays; ``index`` of the QuantizeLinear that makes it."""
        if item.dtype not in INTEGER_TYPES:
            return None
        width, signed = INTEGER_TYPES[item.dtype]
        own = self._cfg.inp_is_signed
        fitted = self._fitted(index, item)
        if fitted is not None and (width == _BYTE or signed != own or item.zero):
            return None if fitted == (item.dtype, item.zero) else fitted
        if signed == own and (width == _BYTE or item.zero == 0):
            return None
        moved = 0 if signed == own else (1 << (width - 1)) * (-1 if own else 1)
        return ("int8" if own else "uint8"), item.zero + moved

    def _pair(self, index: int) -> dict[str, str]:
        """Rewrite a QuantizeLinear and all that read it; the tensor's new type."""
        view, node = self._view, self._view.nodes[index]
        name = node.output[0]
        readers = view.consumers.get(name, [])
        item = self._read(index)
        target = None if item is None else self._target(item, index)
        if item is None or target is None:
            return {}
        if any(view.nodes[at].op_type != "DequantizeLinear" or self._read(at) != item for at in readers):
            return {}
        if name in view.outputs and INTEGER_TYPES[item.dtype][0] < _BYTE:
            return {}  # its zero point would have to be stored in less than a byte
        zero = self._constant(f"{name}/own_zero", np.array(target[1], np.dtype(target[0])))
        if INTEGER_TYPES[item.dtype][0] < _BYTE and not self._inside(index, item):
            self._clip(index, item)
        for at in (index, *readers):
            _set_zero(view.nodes[at], zero)
        return self._output(index, readers, item, zero) if name in view.outputs else {name: target[0]}

    def _output(self, index: int, readers: list[int], item: _Quantized, zero: str) -> dict[str, str]:
        """An output of the network keeps its name and type: it is made anew of the accelerator's own integers."""
        node = self._view.nodes[index]
        name, scale = node.output[0], node.input[1]
        own, real = f"{name}/own", f"{name}/real"
        given = self._constant(f"{name}/given_zero", np.array(item.zero, np.dtype(item.dtype)))
        node.output[0] = own
        for at in readers:
            self._view.nodes[at].input[0] = own
        self._after[index] = [
            helper.make_node("DequantizeLinear", [own, scale, zero], [real], name=f"{real}_DequantizeLinear"),
            helper.make_node("QuantizeLinear", [real, scale, given], [name], name=f"{name}/QuantizeLinear"),
        ]
        return {}

    def _inside(self, index: int, item: _Quantized) -> bool:
        """Whether a QuantizeLinear stands behind moves alone of values that are not beyond its narrow type."""
        maker = self._view.producer.get(self._view.nodes[index].input[0])
        if maker is None or self._view.nodes[maker].op_type not in MOVES:
            return False
        least, most = type_range(item.dtype)
        low, high = (np.rint(end / item.scale) + item.zero for end in self._ranges.get(index, (-np.inf, np.inf)))
        return bool(low >= least and high <= most)

    def _clip(self, index: int, item: _Quantized) -> None:
        """Keep the real values inside what the narrow type holds."""
        node = self._view.nodes[index]
        name = f"{node.output[0]}/kept"
        bounds = [
            self._constant(f"{name}_{what}", np.array(np.float32(value - item.zero) * item.scale, np.float32))
            for what, value in zip(("low", "high"), type_range(item.dtype), strict=True)
        ]
        self._before.setdefault(index, []).append(
            helper.make_node("Clip", [node.input[0], *bounds], [name], name=f"{name}_Clip")
        )
        node.input[0] = name

    def _input(self, name: str) -> None:
        """Behind an integer input of the network that is only dequantized: a pair of the accelerator's own type."""
        readers = self._view.consumers.get(name, [])
        if not readers or any(self._view.nodes[at].op_type != "DequantizeLinear" for at in readers):
            return
        for at in readers:
            item = self._read(at)
            target = None if item is None else self._target(item)
            if item is None or target is None or INTEGER_TYPES[item.dtype][0] < _BYTE:
                continue
            node = self._view.nodes[at]
            real, again = f"{node.output[0]}/given", f"{node.output[0]}/own"
            result = node.output[0]
            zero = self._constant(f"{node.output[0]}/own_zero", np.array(target[1], np.dtype(target[0])))
            node.output[0] = real
            self._after[at] = [
                helper.make_node(
                    "QuantizeLinear", [real, node.input[1], zero], [again], name=f"{again}_QuantizeLinear"
                ),
                helper.make_node(
                    "DequantizeLinear", [again, node.input[1], zero], [result], name=f"{again}_Dequantize"
                ),
            ]

    def _constant(self, name: str, value: np.ndarray) -> str:
        self._model.graph.initializer.append(numpy_helper.from_array(value, name))
        return name


def _set_zero(node: NodeProto, zero: str) -> None:
    kept = [item for item in node.attribute if item.name != "output_dtype"]
    del node.attribute[:]
    node.attribute.extend(kept)
    inputs = [*node.input[:2], zero]
    del node.input[:]
    node.input.extend(inputs)


def _copy(node: NodeProto) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    return copy
