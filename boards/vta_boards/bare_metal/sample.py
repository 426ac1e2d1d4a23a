"""Inputs that the example of an exported program runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vta_arch.errors import DataError
from vta_arch.layout import ceil_div
from vta_arch.program import Program

from . import c_text
from .schedule import elements

MAX_SAMPLE_ELEMENTS = 1 << 24
"""Elements of all samples: more takes a compiler minutes."""


@dataclass(frozen=True)
class Sample:
    """Images for each input, of the program's types; None: zeros."""

    images: int
    arrays: Mapping[str, NDArray[Any]] | None

    @classmethod
    def of(cls, program: Program, samples: Mapping[str, NDArray[Any]] | None) -> Sample:
        """Samples in the program's types. Raises DataError for those that do not fit."""
        if samples is None:
            return cls(1, None)
        if set(samples) != set(program.inputs):
            raise DataError(
                f"samples of {', '.join(sorted(samples)) or 'nothing'}; it takes {', '.join(program.inputs)}"
            )
        arrays = {name: _checked(program, name, np.asarray(value)) for name, value in samples.items()}
        counts = {len(value) for value in arrays.values()}
        if len(counts) != 1 or 0 in counts:
            raise DataError(f"samples hold {sorted(counts)} images: give the same number, at least 1, for each")
        if sum(value.size for value in arrays.values()) > MAX_SAMPLE_ELEMENTS:
            raise DataError(f"samples have more than {MAX_SAMPLE_ELEMENTS} elements: export fewer images")
        return cls(counts.pop(), arrays)


def _checked(program: Program, name: str, value: NDArray[Any]) -> NDArray[Any]:
    tensor = program.tensors[name]
    if value.dtype.kind not in "biuf" or value.ndim != len(tensor.shape) or value.shape[1:] != tensor.shape[1:]:
        wanted = ", ".join(["images", *map(str, tensor.shape[1:])])
        raise DataError(f"sample {name!r} is {value.dtype} {list(value.shape)}; it must be numeric, [{wanted}]")
    result: NDArray[Any] = value.astype(tensor.host_dtype)
    return result


def sample_texts(program: Program, sample: Sample) -> dict[str, str]:
    """What the templates of the example say of samples and results."""
    runs = ceil_div(sample.images, program.batch)
    arrays, rows = [], []
    for run in range(runs):
        names = [f"run_{run}_input_{number}" for number in range(len(program.inputs))]
        rows.append(f"    {{{', '.join(names)}}},")
        for name, text in zip(program.inputs, names, strict=True):
            arrays.append(_array(program, sample, name, text, run))
    outputs = [program.tensors[name] for name in program.outputs]
    results = [f"result_{number}" for number in range(len(outputs))]
    return {
        "SAMPLE_IMAGES": str(sample.images),
        "SAMPLE_RUNS": str(runs),
        "SAMPLE_ARRAYS": "\n".join(arrays),
        "SAMPLE_INPUTS": "\n".join(rows),
        # Floats, whatever the type: a compiler that cannot see the type looks at every access as if it happened.
        "OUTPUT_ARRAYS": "".join(
            c_text.buffer(text, np.dtype(np.float32), elements(tensor))
            for text, tensor in zip(results, outputs, strict=True)
        ),
        "RESULTS": ", ".join(results),
    }


def _array(program: Program, sample: Sample, name: str, text: str, run: int) -> str:
    tensor = program.tensors[name]
    if sample.arrays is None:
        return c_text.zeros(text, tensor.host_dtype, elements(tensor))
    part = sample.arrays[name][run * program.batch : (run + 1) * program.batch]
    full = np.zeros((program.batch, *part.shape[1:]), part.dtype)
    full[: len(part)] = part
    return c_text.array(text, full)
