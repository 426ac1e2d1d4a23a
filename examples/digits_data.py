"""The handwritten digits that scikit-learn bundles, split into training and held-out images.

Run as a script it writes them as npz files for the ``vta`` command:

    python examples/digits_data.py build/digits
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

HELD_OUT_STEP = 4
"""Every fourth image is held out: a split that no random generator can change."""


@dataclass(frozen=True)
class Digits:
    """Images as float32 [N, 1, 8, 8] from 0 to 1, labels as int64 [N]."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]

    def save(self, path: Path) -> None:
        """Write ``x`` and ``y`` to an npz file, uncompressed."""
        with path.open("wb") as file:
            np.savez(file, x=self.x, y=self.y)


def load() -> tuple[Digits, Digits]:
    """The 1,348 training images and the 449 held-out ones."""
    bunch = load_digits()
    x = (bunch.images / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    y = bunch.target.astype(np.int64)
    held_out = np.arange(len(y)) % HELD_OUT_STEP == HELD_OUT_STEP - 1
    return Digits(x[~held_out], y[~held_out]), Digits(x[held_out], y[held_out])


def main(folder: Path) -> None:
    """Write ``train.npz`` and ``test.npz`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    train, test = load()
    for name, digits in (("train", train), ("test", test)):
        digits.save(folder / f"{name}.npz")
        print(f"{folder / name}.npz: {len(digits.y)} images")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/digits"))
