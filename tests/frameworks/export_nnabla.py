"""Runs in an environment with nnabla and nnabla-converter: a network as ONNX, with inputs and the outputs it gave.

Usage: python export_nnabla.py FOLDER
"""

import subprocess
import sys
from pathlib import Path

import nnabla as nn
import nnabla.functions as F
import nnabla.parametric_functions as PF
import nnabla.utils.save
import numpy as np

BATCH, SIZE = 1, 16


def main(folder: Path) -> None:
    np.random.seed(0)
    x = nn.Variable((BATCH, 3, SIZE, SIZE))
    hidden = F.relu(PF.convolution(x, 16, (3, 3), pad=(1, 1), name="first"))
    hidden = F.relu(PF.convolution(hidden, 32, (1, 1), name="second"))
    y = PF.affine(F.average_pooling(hidden, (SIZE, SIZE)), 10, name="last")
    contents = {
        "networks": [{"name": "net", "batch_size": BATCH, "outputs": {"y": y}, "names": {"x": x}}],
        "executors": [{"name": "run", "network": "net", "data": ["x"], "output": ["y"]}],
    }
    nnabla.utils.save.save(str(folder / "net.nnp"), contents)
    subprocess.run(
        [Path(sys.executable).with_name("nnabla_cli"), "convert", "net.nnp", "net.onnx", "-b", str(BATCH)],
        cwd=folder,
        check=True,
        timeout=300,
    )
    images, outputs = np.random.normal(size=(32, 3, SIZE, SIZE)).astype(np.float32), []
    for image in images:
        x.d = image[None]
        y.forward()
        outputs.append(y.d.copy())
    np.savez(folder / "images.npz", x=images, y=np.concatenate(outputs))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
