"""Runs in an environment with TensorFlow and tf2onnx: a network as float ONNX and as TFLite's int8 ONNX, and images.

Usage: python export_tensorflow.py FOLDER
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

IMAGES, SIZE = 64, 16


def network() -> tf.keras.Model:
    """Convolution, depthwise convolution with stride, pointwise convolution, pool and dense layer."""
    layers = tf.keras.layers
    return tf.keras.Sequential(
        [
            tf.keras.Input((SIZE, SIZE, 3), name="x"),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.DepthwiseConv2D(3, strides=2, padding="same", activation="relu6"),
            layers.Conv2D(32, 1, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10),
        ]
    )


def quantized(model: tf.keras.Model, images: np.ndarray) -> bytes:
    """The TFLite file with int8 inputs, outputs and operators."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in images)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def convert(folder: Path, *arguments: str) -> None:
    """tf2onnx on the command line, as docs/from-frameworks.md has it."""
    subprocess.run([sys.executable, "-m", "tf2onnx.convert", *arguments], cwd=folder, check=True, timeout=300)


def main(folder: Path) -> None:
    tf.random.set_seed(0)
    model, images = network(), np.random.default_rng(0).normal(size=(IMAGES, SIZE, SIZE, 3)).astype(np.float32)
    model.export(str(folder / "saved"))
    (folder / "net_int8.tflite").write_bytes(quantized(model, images))
    convert(folder, "--saved-model", "saved", "--output", "net.onnx", "--opset", "17", "--inputs-as-nchw", "x:0")
    convert(folder, "--tflite", "net_int8.tflite", "--output", "net_q.onnx", "--opset", "17")
    np.savez(folder / "images.npz", x=images.transpose(0, 3, 1, 2), nhwc=images)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
