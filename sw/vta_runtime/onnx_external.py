"""Finds data that an ONNX model keeps in other files, without the onnx package.

A program carries all its data: a model in it that names a file would make whoever runs it read that file.
"""

from __future__ import annotations

from vta_arch.errors import ProgramError

from .onnx_file import fields

_PARTS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
"""Messages of onnx.proto in which a tensor can lie: field number -> message."""
_NAME, _EXTERNAL_DATA, _DATA_LOCATION = 8, 13, 14
_DEPTH_LIMIT = 100
"""protobuf's own limit of messages inside each other."""


def check_self_contained(model: bytes) -> None:
    """Raise ProgramError, naming the tensor, when a model keeps data in another file, or is no ONNX model."""
    try:
        _check("model", model, 0)
    except (IndexError, ValueError, TypeError) as error:
        raise ProgramError(f"a CPU subgraph is no ONNX model: {error}") from None


def _check(message: str, data: bytes, depth: int) -> None:
    if depth > _DEPTH_LIMIT:
        raise ValueError(f"it has more than {_DEPTH_LIMIT} levels")
    if message == "tensor":
        _check_tensor(data)
        return
    for number, value in fields(data):
        part = _PARTS[message].get(number)
        if part is not None:
            if not isinstance(value, bytes):
                raise ValueError(f"field {number} of a {message} is a number")
            _check(part, value, depth + 1)


def _check_tensor(data: bytes) -> None:
    found = list(fields(data))
    if any(number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0) for number, value in found):
        names = [value for number, value in found if number == _NAME and isinstance(value, bytes)]
        name = names[-1].decode(errors="replace") if names else ""
        raise ProgramError(f"constant {name!r} of a CPU subgraph lies in another file; a program carries all its data")
