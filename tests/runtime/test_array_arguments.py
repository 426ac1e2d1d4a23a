"""npz files that a command names: reading, hostile files, writing."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from vta_arch.errors import DataError
from vta_runtime.array_arguments import read_array, read_inputs, split_key, write_arrays


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    path = tmp_path / "data.npz"
    np.savez_compressed(path, x=np.arange(6, dtype=np.uint8).reshape(2, 3), y=np.float16([1, 2]))
    return path


def test_default_and_named_key(npz: Path) -> None:
    assert read_array(str(npz), "x").tolist() == [[0, 1, 2], [3, 4, 5]]
    named = read_array(f"{npz}:y", "x")
    assert named.dtype == np.float16
    assert named.tolist() == [1, 2]


def test_fortran_order_and_scalars(tmp_path: Path) -> None:
    values = np.asfortranarray(np.arange(12, dtype=">i4").reshape(3, 4))
    np.savez(tmp_path / "f.npz", x=values, one=np.float64(3))
    assert (read_array(str(tmp_path / "f.npz"), "x") == values).all()
    assert read_array(f"{tmp_path / 'f.npz'}:one", "x") == 3


@pytest.mark.parametrize("name", ["a:b.npz", "c:x"])
def test_colon_in_the_file_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with path.open("wb") as file:
        np.savez(file, x=np.ones(2), y=np.zeros(3))
    assert read_array(str(path), "x").shape == (2,)
    assert read_array(f"{path}:y", "x").shape == (3,)


def test_inputs_of_a_network(npz: Path) -> None:
    """One input has any key, several have their own names."""
    assert {name: array.shape for name, array in read_inputs(f"{npz}:y", ["image"]).items()} == {"image": (2,)}
    assert {name: array.shape for name, array in read_inputs(str(npz), ["y", "x"]).items()} == {"y": (2,), "x": (2, 3)}


def test_split_key_of_a_missing_file() -> None:
    assert split_key("none.npz:images", "x") == (Path("none.npz"), "images")
    assert split_key("none.npz", "x") == (Path("none.npz"), "x")


def test_missing_key_names_the_keys(npz: Path) -> None:
    with pytest.raises(DataError, match="no array 'z'; it has 'x', 'y'"):
        read_array(f"{npz}:z", "x")


def test_not_an_npz(tmp_path: Path) -> None:
    path = tmp_path / "text.npz"
    path.write_text("hello")
    with pytest.raises(DataError, match="is not an npz file"):
        read_array(str(path), "x")
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_array(str(tmp_path / "none.npz"), "x")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_array(str(tmp_path), "x")


def test_objects_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "o.npz", x=np.array([{}, []], dtype=object), s=np.array(["a"]), c=np.array([1j]))
    for key in ("x", "s", "c"):
        with pytest.raises(DataError, match="expected integers or floats"):
            read_array(f"{tmp_path / 'o.npz'}:{key}", "x")


def _member(header: str, body: bytes) -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_member("{'descr': '<f4', 'fortran_order': False, 'shape': (4000000000000,)}", b""), "too large"),
        (_member("{'descr': '<f4', 'fortran_order': False, 'shape': (1000,)}", b"\0" * 16), "damaged"),
        (_member("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", b"\0" * 16), "damaged"),
        (_member("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", b"\0" * 16), "damaged"),
        (_member("{'descr': __import__('os'), 'shape': (1,)}", b""), "damaged"),
        (b"\x93NUMPY\x09\x00", "damaged"),
        (b"", "damaged"),
    ],
)
def test_hostile_members(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", content)
    with pytest.raises(DataError, match=message) as caught:
        read_array(str(path), "x")
    assert "\n" not in str(caught.value)


def test_flipped_bits_are_noticed(npz: Path) -> None:
    data = bytearray(npz.read_bytes())
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] ^= 1 << rng.integers(8)
        npz.write_bytes(damaged)
        try:
            values = read_array(str(npz), "x")
        except DataError:
            continue
        assert values.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_write_arrays_with_any_name(tmp_path: Path) -> None:
    path = tmp_path / "out.npz"
    names = ["file", "a/b:0", "logits", "self"]
    write_arrays(path, {name: np.full((2, 2), index, np.float32) for index, name in enumerate(names)})
    with np.load(path) as archive:
        assert sorted(archive.files) == sorted(names)
        assert archive["a/b:0"].tolist() == [[1, 1], [1, 1]]
    assert zipfile.ZipFile(io.BytesIO(path.read_bytes())).testzip() is None
