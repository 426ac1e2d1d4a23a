"""Where calibration samples come from: an npz file, or a folder of npz files or of pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from vta_arch.errors import DataError
from vta_runtime.array_arguments import read_inputs, split_key

if TYPE_CHECKING:
    from onnx import ModelProto
    from vta_sw.quantize import Calibration

Inputs = Mapping[str, tuple[int | None, ...]]
"""Input of a network -> its shape; None where the file leaves an extent open."""

PICTURES = (".png", ".jpg", ".jpeg")
_BATCH = 16
"""Pictures that are in memory at once."""
_COLOURS = {1: "L", 3: "RGB"}


@dataclass(frozen=True)
class Pixels:
    """What a network takes for a pixel of 0 to 255: ``(pixel - mean) / std``, for all channels or one each."""

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)


def inputs_of(model: ModelProto) -> Inputs:
    """The inputs of a prepared network."""
    from vta_sw.frontend import Graph

    graph = Graph(model)
    return {value.name: graph.shape(value.name) or () for value in graph.inputs}


def calibration_source(argument: str, inputs: Inputs, pixels: Pixels) -> Calibration:
    """The samples that ``FILE.npz[:KEY]`` or ``FOLDER[:KEY]`` names, for a network with ``inputs``.

    A folder (and those inside) holds npz files, each one batch, or pictures of the network's height and width. They
    are read when they are needed, in the order of their names, and can be gone through again.

    Raises DataError for what cannot be read or does not fit; for files in a folder that happens when they come.
    """
    path, key = split_key(argument, "x")
    if not path.is_dir():
        return read_inputs(argument, list(inputs))
    files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
    arrays = [file for file in files if file.suffix.lower() == ".npz"]
    pictures = [file for file in files if file.suffix.lower() in PICTURES]
    if arrays and pictures:
        raise DataError(f"{path}: has npz files and pictures; expected only one kind")
    if arrays:
        return ArrayFolder(arrays, list(inputs), key)
    if pictures:
        return PictureFolder(pictures, inputs, pixels)
    raise DataError(f"{path}: has no npz files and no pictures ({', '.join(PICTURES)})")


@dataclass(frozen=True)
class ArrayFolder:
    """Batches from npz files, one file at a time."""

    files: Sequence[Path]
    names: Sequence[str]
    key: str

    def __iter__(self) -> Iterator[dict[str, NDArray[Any]]]:
        for file in self.files:
            yield read_inputs(f"{file}:{self.key}" if len(self.names) == 1 else str(file), self.names)


class PictureFolder:
    """Batches from picture files, a few pictures at a time."""

    def __init__(self, files: Sequence[Path], inputs: Inputs, pixels: Pixels) -> None:
        """Raises DataError for a network that takes no pictures, or without Pillow."""
        self._files, self._pixels = files, pixels
        shape = next(iter(inputs.values())) if len(inputs) == 1 else ()
        if len(shape) != 4 or not {shape[1], shape[3]} & set(_COLOURS):
            raise DataError(
                f"pictures do not fit a network that takes {_shown(inputs)}; expected one input [N, 1 or 3, H, W]"
            )
        self._channels_first = shape[1] in _COLOURS
        channels, height, width = shape[1:] if self._channels_first else (shape[3], shape[1], shape[2])
        self._mode, self._size = _COLOURS[channels or 0], (width, height)
        for name, values in (("mean", pixels.mean), ("std", pixels.std)):
            if len(values) not in (1, channels):
                raise DataError(f"image {name} has {len(values)} values; give 1, or {channels}: one a channel")
        try:
            import PIL  # noqa: F401
        except ImportError:
            raise DataError("reading pictures takes Pillow: pip install pillow") from None

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        for first in range(0, len(self._files), _BATCH):
            yield np.stack([self._read(file) for file in self._files[first : first + _BATCH]])

    def _read(self, file: Path) -> NDArray[np.float32]:
        from PIL import Image

        try:
            with Image.open(file) as picture:
                if any(want not in (None, has) for want, has in zip(self._size, picture.size, strict=True)):
                    wanted = " x ".join(str(extent or "any") for extent in self._size)
                    raise DataError(f"{file}: is {picture.width} x {picture.height}, the network takes {wanted}")
                values = np.asarray(picture.convert(self._mode), np.float32)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise DataError(f"{file}: is no picture, or damaged: {error}") from None
        mean, std = np.asarray(self._pixels.mean, np.float32), np.asarray(self._pixels.std, np.float32)
        values = np.asarray((values.reshape(*values.shape[:2], -1) - mean) / std, np.float32)
        return np.ascontiguousarray(values.transpose(2, 0, 1)) if self._channels_first else values


def _shown(inputs: Inputs) -> str:
    return ", ".join(f"[{', '.join(str(extent or 'N') for extent in shape)}]" for shape in inputs.values())
