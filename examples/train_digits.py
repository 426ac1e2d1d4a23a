"""Train the demo's network: a small ResNet on 8x8 handwritten digits, written as ONNX.

Needs the ``train`` extra (JAX on the CPU) and about a minute:

    python -m pip install -e '.[train,dev]' && python examples/train_digits.py

Three stages of one residual block each (16, 32, 64 channels; the second and third halve the image with a
strided 1x1 convolution on the skip path), BatchNorm, global average pooling, one dense layer. The seed is fixed.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import digits_data
import digits_onnx
import jax
import jax.numpy as jnp
import numpy as np

CHANNELS = (16, 32, 64)
CLASSES = 10
MOMENTUM = 0.9
BATCH_NORM_MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
Params = dict[str, Any]


def conv_shapes() -> dict[str, tuple[tuple[int, int, int, int], int]]:
    """Weight shape and stride of each convolution, by name."""
    shapes: dict[str, tuple[tuple[int, int, int, int], int]] = {"stem": ((CHANNELS[0], 1, 3, 3), 1)}
    before = CHANNELS[0]
    for stage, channels in enumerate(CHANNELS, start=1):
        stride = 1 if stage == 1 else 2
        shapes[f"stage{stage}_conv1"] = ((channels, before, 3, 3), stride)
        shapes[f"stage{stage}_conv2"] = ((channels, channels, 3, 3), 1)
        if stride != 1:
            shapes[f"stage{stage}_skip"] = ((channels, before, 1, 1), stride)
        before = channels
    return shapes


def initial(rng: np.random.Generator) -> tuple[Params, Params]:
    """Trainable parameters, and the running mean and variance of each BatchNorm."""
    params: Params = {}
    running: Params = {}
    for name, (shape, _) in conv_shapes().items():
        deviation = np.sqrt(2 / np.prod(shape[1:]))
        params[name] = {
            "weight": jnp.asarray(rng.normal(0, deviation, shape), jnp.float32),
            "scale": jnp.ones(shape[0]),
            "bias": jnp.zeros(shape[0]),
        }
        running[name] = {"mean": jnp.zeros(shape[0]), "var": jnp.ones(shape[0])}
    bound = 1 / np.sqrt(CHANNELS[-1])
    weight = rng.uniform(-bound, bound, (CLASSES, CHANNELS[-1]))
    params["dense"] = {"weight": jnp.asarray(weight, jnp.float32), "bias": jnp.zeros(CLASSES)}
    return params, running


def conv_bn(name: str, params: Params, running: Params, x: jax.Array, train: bool) -> tuple[jax.Array, Params]:
    """Convolution and BatchNorm; also the statistics that BatchNorm used."""
    shape, stride = conv_shapes()[name]
    pad = shape[2] // 2
    y = jax.lax.conv_general_dilated(
        x, params[name]["weight"], (stride, stride), [(pad, pad)] * 2, dimension_numbers=("NCHW", "OIHW", "NCHW")
    )
    used = {"mean": y.mean((0, 2, 3)), "var": y.var((0, 2, 3))} if train else running[name]
    centred = (y - used["mean"][:, None, None]) * jax.lax.rsqrt(used["var"] + digits_onnx.EPSILON)[:, None, None]
    return centred * params[name]["scale"][:, None, None] + params[name]["bias"][:, None, None], used


def forward(params: Params, running: Params, x: jax.Array, train: bool) -> tuple[jax.Array, Params]:
    """Logits [N, 10] of images [N, 1, 8, 8], and the statistics of every BatchNorm."""
    used: Params = {}
    x, used["stem"] = conv_bn("stem", params, running, x, train)
    x = jax.nn.relu(x)
    for stage in range(1, len(CHANNELS) + 1):
        y, used[f"stage{stage}_conv1"] = conv_bn(f"stage{stage}_conv1", params, running, x, train)
        y, used[f"stage{stage}_conv2"] = conv_bn(f"stage{stage}_conv2", params, running, jax.nn.relu(y), train)
        skip = f"stage{stage}_skip"
        if skip in params:
            x, used[skip] = conv_bn(skip, params, running, x, train)
        x = jax.nn.relu(x + y)
    return x.mean((2, 3)) @ params["dense"]["weight"].T + params["dense"]["bias"], used


def loss(params: Params, running: Params, x: jax.Array, y: jax.Array) -> tuple[jax.Array, Params]:
    """Cross entropy with smoothed labels, and the BatchNorm statistics."""
    logits, used = forward(params, running, x, train=True)
    target = jax.nn.one_hot(y, CLASSES) * 0.9 + 0.1 / CLASSES
    return -(target * jax.nn.log_softmax(logits)).sum(1).mean(), used


def step(
    params: Params, velocity: Params, running: Params, x: jax.Array, y: jax.Array, rate: float
) -> tuple[Params, Params, Params]:
    """One step of gradient descent with momentum."""
    gradient, used = jax.grad(loss, has_aux=True)(params, running, x, y)
    gradient = jax.tree.map(lambda g, p: g + WEIGHT_DECAY * p, gradient, params)
    velocity = jax.tree.map(lambda v, g: MOMENTUM * v + g, velocity, gradient)
    params = jax.tree.map(lambda p, v: p - rate * v, params, velocity)
    running = jax.tree.map(lambda r, u: BATCH_NORM_MOMENTUM * r + (1 - BATCH_NORM_MOMENTUM) * u, running, used)
    return params, velocity, running


jitted_step = jax.jit(step)


def augment(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """Each image moved by up to one pixel, with a little noise."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    moves = rng.integers(0, 3, (len(x), 2))
    moved = np.stack([image[:, r : r + 8, c : c + 8] for image, (r, c) in zip(padded, moves, strict=True)])
    return np.clip(moved + rng.normal(0, 0.05, moved.shape), 0, 1).astype(np.float32)


def train(epochs: int, seed: int, batch: int = 64, top_rate: float = 0.05) -> tuple[Params, Params]:
    """Parameters and running statistics after ``epochs`` over the training images."""
    rng = np.random.default_rng(seed)
    digits, _ = digits_data.load()
    params, running = initial(rng)
    velocity = jax.tree.map(jnp.zeros_like, params)
    steps = len(digits.y) // batch
    for epoch in range(epochs):
        order = rng.permutation(len(digits.y))
        for index in range(steps):
            rate = top_rate * 0.5 * (1 + np.cos(np.pi * (epoch + index / steps) / epochs))
            chosen = order[index * batch : (index + 1) * batch]
            images = augment(rng, digits.x[chosen])
            params, velocity, running = jitted_step(params, velocity, running, images, digits.y[chosen], rate)
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1}: training accuracy {accuracy(params, running, digits):.2f} %")
    return params, running


def accuracy(params: Params, running: Params, digits: digits_data.Digits) -> float:
    """Top-1 in percent."""
    predict = jax.jit(partial(forward, train=False))
    logits, _ = predict(params, running, digits.x)
    return float((np.asarray(logits).argmax(1) == digits.y).mean() * 100)


def main() -> None:
    """Train, report the held-out accuracy, write the ONNX file."""
    parser = argparse.ArgumentParser(description="Train the digits ResNet and write it as ONNX.")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_name("digits_resnet.onnx"))
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    params, running = train(options.epochs, options.seed)
    print(f"held-out accuracy {accuracy(params, running, digits_data.load()[1]):.2f} %")
    strides = {name: stride for name, (_, stride) in conv_shapes().items()}
    to_numpy = partial(jax.tree.map, lambda leaf: np.asarray(leaf, np.float32))
    digits_onnx.write(options.output, to_numpy(params), to_numpy(running), strides)
    print(f"wrote {options.output}")


if __name__ == "__main__":
    main()
