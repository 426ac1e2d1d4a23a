"""npy and npz files of tensors, as a server takes them and as they go back."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from vta_arch.errors import DataError
from vta_runtime.array_files import opened, read_arrays, read_text, write_arrays


@pytest.mark.parametrize("dtype", ["<f4", ">i2", "u1", "?", "<f8", "<i8", "<f2"])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 3), (2, 0, 4)])
def test_what_numpy_writes(dtype: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    values = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype, order="F")
    np.save(tmp_path / "x.npy", values)
    np.savez_compressed(tmp_path / "x.npz", x=values)
    for name in ("x.npy", "x.npz"):
        found = read_arrays(tmp_path / name, ["x"], "it", 1 << 20)["x"]
        assert (found.dtype, found.shape) == (values.dtype, shape)
        assert (found == values).all()


def test_there_and_back() -> None:
    buffer = io.BytesIO()
    arrays = {"a/b": np.arange(4, dtype=np.int8), "one": np.array(3.5)}
    write_arrays(buffer, arrays, {"report.json": "{}"})
    with opened(buffer, "it") as archive:
        assert read_text(archive, "report.json", "it", 10) == "{}"
        with pytest.raises(DataError, match="has no member 'other'"):
            read_text(archive, "other", "it", 10)
        with pytest.raises(DataError, match="larger than 1 bytes"):
            read_text(archive, "report.json", "it", 1)
    with np.load(buffer) as file:
        assert (file["a/b"] == arrays["a/b"]).all()
        assert file["one"] == 3.5


def test_limits_and_names() -> None:
    buffer = io.BytesIO()
    write_arrays(buffer, {"a": np.zeros(100), "b": np.zeros(100)})
    assert set(read_arrays(buffer, ["b", "a"], "it", 1600)) == {"a", "b"}
    with pytest.raises(DataError, match="takes a"):
        read_arrays(buffer, ["a"], "it", 1600)
    with pytest.raises(DataError, match="it:a: 800 bytes is too large"):
        read_arrays(buffer, ["a", "b"], "it", 799)
    single = io.BytesIO()
    np.save(single, np.zeros(3))
    with pytest.raises(DataError, match="is one array, the network takes a, b"):
        read_arrays(single, ["a", "b"], "it", 1600)
