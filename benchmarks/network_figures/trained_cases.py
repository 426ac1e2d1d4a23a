"""The trained networks of the shared data, and the labelled images for each."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DATA_VARIABLE = "VTA_SHARED_DATA"
"""Environment variable with the folder of the trained networks; default is shared/data beside the repository."""
PHOTOS = "imagenet_150_jpeg.npz"
PHOTO_CALIBRATION = 24

Images = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Trained:
    """A network file and its data. ``calibration`` is None for a network that is quantized already.

    Where nothing else is there, the first of the test images calibrate: what is then measured is the distance between
    float and quantized.
    """

    name: str
    file: str
    test: str
    calibration: str | None
    calibration_images: int = 512
    batch: int | None = None
    """Images of one pass on the functional simulator; None: the file fixes it."""
    test_from: int = 0
    """Images of the test file before this one are for calibration."""

    def missing(self, folder: Path) -> str | None:
        """Why it cannot be measured; None when it can."""
        for file in (self.file, self.test, self.calibration):
            if file is not None and not (folder / file).is_file():
                return f"{folder / file} is not there; set {DATA_VARIABLE} or give --data"
        if self.test == PHOTOS:
            try:
                import PIL  # noqa: F401
            except ImportError:
                return "its photos are JPEG files, which pillow decodes: pip install pillow"
        return None

    def data(self, folder: Path, limit: int | None) -> tuple[Images, Labels]:
        """Test images and their classes."""
        stop = None if limit is None else self.test_from + limit
        images, labels = (photos if self.test == PHOTOS else arrays)(folder / self.test, stop)
        return images[self.test_from :], labels[self.test_from :]

    def calibration_data(self, folder: Path) -> Images:
        """Images to calibrate with."""
        assert self.calibration is not None
        read = photos if self.calibration == PHOTOS else arrays
        return read(folder / self.calibration, self.calibration_images)[0]


TRAINED = (
    Trained("ResNet-20", "resnet20.onnx", "cifar10_test_resnet20.npz", "cifar10_calibration_resnet20.npz", batch=20),
    Trained("ResNet-8", "resnet8_float.onnx", "cifar10_test_u8.npz", "cifar10_calibration_u8.npz", batch=20),
    Trained("ResNet-8 QDQ", "resnet8_int8_qdq.onnx", "cifar10_test_u8.npz", None, batch=20),
    Trained("DS-CNN", "dscnn_kws_float.onnx", "kws_test_400.npz", "kws_test_400.npz", 100, batch=20, test_from=100),
    Trained("DS-CNN QDQ", "dscnn_kws_int8_qdq.onnx", "kws_test_400.npz", None, batch=20, test_from=100),
    Trained("MNIST CNN", "mnist_cntk.onnx", "mnist_test_u8.npz", "mnist_calibration_u8.npz"),
    Trained("MobileNetV1 0.25", "mobilenet_v1_0.25_224_float.onnx", PHOTOS, PHOTOS, PHOTO_CALIBRATION, batch=5),
)


def data_folder(root: Path) -> Path:
    """Where the trained networks are, for a repository at ``root``."""
    return Path(os.environ.get(DATA_VARIABLE) or root.parent / "shared" / "data")


def arrays(path: Path, limit: int | None) -> tuple[Images, Labels]:
    """``x`` and ``y`` of a file."""
    with np.load(path) as found:
        return found["x"][:limit].astype(np.float32), found["y"][:limit].astype(np.int64)


def photos(path: Path, limit: int | None) -> tuple[Images, Labels]:
    """Photos as [N, 3, 224, 224] from -1 to 1; class 0 of the network is the background."""
    from PIL import Image

    with np.load(path) as found:
        data, offsets, labels = found["jpeg"], found["offsets"], found["labels"][:limit]
    files = [data[offsets[k] : offsets[k + 1]].tobytes() for k in range(len(labels))]
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(file)).convert("RGB"), dtype=np.float32) for file in files])
    return np.ascontiguousarray((pixels.transpose(0, 3, 1, 2) - 127.5) / 127.5), labels.astype(np.int64) + 1
