"""Constants in other files are found wherever in a model they hide."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper
from vta_arch.errors import ProgramError
from vta_runtime.onnx_external import check_self_contained


def _tensor(name: str = "w", *, external: bool = True) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1])
    if external:
        tensor.data_location = TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", "/etc/passwd"
    else:
        tensor.raw_data = bytes(4)
    return tensor


def _graph(*nodes: onnx.NodeProto, tensors: tuple[TensorProto, ...] = ()) -> onnx.GraphProto:
    return helper.make_graph(list(nodes), "g", [], [], list(tensors))


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    return helper.make_model(graph)


def _constant(tensor: TensorProto) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["c"], value=tensor)


def _sparse() -> onnx.SparseTensorProto:
    return onnx.SparseTensorProto(values=_tensor(), indices=_tensor(external=False), dims=[1])


def _models() -> dict[str, onnx.ModelProto]:
    inner = _graph(_constant(_tensor()))
    models = {
        "initializer": _model(_graph(tensors=(_tensor("a", external=False), _tensor()))),
        "attribute": _model(_graph(_constant(_tensor()))),
        "body": _model(_graph(helper.make_node("If", ["c"], ["y"], then_branch=_graph(), else_branch=inner))),
        "sparse attribute": _model(_graph(helper.make_node("Constant", [], ["c"], sparse_value=_sparse()))),
    }
    models["sparse"] = _model(_graph())
    models["sparse"].graph.sparse_initializer.append(_sparse())
    models["function"] = _model(_graph())
    models["function"].functions.append(helper.make_function("d", "f", [], [], [_constant(_tensor())], []))
    models["training"] = _model(_graph())
    models["training"].training_info.add().algorithm.CopyFrom(inner)
    models["only the location"] = _model(_graph(tensors=(_tensor(),)))
    del models["only the location"].graph.initializer[0].external_data[:]
    return models


@pytest.mark.parametrize("name", list(_models()))
def test_found(name: str) -> None:
    with pytest.raises(ProgramError, match="constant 'w' of a CPU subgraph lies in another file"):
        check_self_contained(_models()[name].SerializeToString())


def test_models_that_hold_their_data() -> None:
    inside = _tensor(external=False)
    check_self_contained(_model(_graph(_constant(inside), tensors=(inside,))).SerializeToString())


def test_what_is_no_model() -> None:
    for data in (b"\x00", b"\x3a\xff", b"\x38\x01", b"\x3a\x02\x08\x01"):
        with pytest.raises(ProgramError, match="is no ONNX model"):
            check_self_contained(data)
    deep = b""
    for _ in range(60):
        deep = _field(1, _field(5, _field(6, deep)))
    with pytest.raises(ProgramError, match="more than 100 levels"):
        check_self_contained(_field(7, deep))


def _field(number: int, data: bytes) -> bytes:
    length, size = b"", len(data)
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + data
