"""The arrays and statements of a program's C, collected while its steps are written."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import c_text


@dataclass(frozen=True)
class Value:
    """An array in host memory: its C expression (a pointer), type and shape; ``constant`` holds known contents."""

    text: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    constant: NDArray[Any] | None = None

    @property
    def size(self) -> int:
        """Elements."""
        return math.prod(self.shape)

    @property
    def kind(self) -> str:
        """Name of the type."""
        return str(self.dtype.name)


@dataclass
class Body:
    """Declarations of arrays and the statements of a run."""

    arrays: list[str] = field(default_factory=list)
    statements: list[str] = field(default_factory=list)
    buffers: int = 0
    _constants: dict[tuple[str, bytes], str] = field(default_factory=dict)

    def buffer(self, dtype: np.dtype[Any], shape: tuple[int, ...], what: str) -> Value:
        """A fresh array that a run writes; ``what`` goes into a comment."""
        name = f"value_{len(self.arrays)}"
        size = math.prod(shape)
        self.arrays.append(c_text.comment(what) + "\n" + c_text.buffer(name, dtype, size))
        self.buffers += size * dtype.itemsize
        return Value(name, dtype, shape)

    def constant(self, values: NDArray[Any]) -> str:
        """Expression of a constant array of these values; the same values are stored once."""
        key = (values.dtype.str, values.tobytes())
        if key not in self._constants:
            name = f"constant_{len(self._constants)}"
            self.arrays.append(c_text.array(name, values))
            self._constants[key] = name
        return self._constants[key]

    def expression(self, value: Value) -> str:
        """A pointer to a value, stored first if it is constant."""
        return value.text if value.constant is None else self.constant(value.constant)

    def add(self, statement: str) -> None:
        """A line of the run."""
        self.statements.append(statement)
