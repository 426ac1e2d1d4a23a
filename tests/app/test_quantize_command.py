"""``vta quantize``: its options, calibration sources, the sweep, and the report in all its forms."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import onnx
import pytest
from app_networks import images, network, write_files
from PIL import Image
from vta_app import load_config, quantize
from vta_app.calibration import Pixels, calibration_source
from vta_sw.models import NetworkBuilder
from vta_sw.quantize import QConfig

CONFIGS = ["tiny", "pynq-z1", "int4"]
QUANTIZE = ("quantize", "f.onnx", "--calibration", "data.npz", "-o", "q.onnx")


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    """``f.onnx`` and ``data.npz``."""
    write_files(tmp_path)


@pytest.mark.parametrize("config", CONFIGS)
def test_the_report_says_what_happened(vta: Callable, config: str, tmp_path: Path) -> None:
    outcome = vta(*QUANTIZE, "-c", config, "--report", "r.json", "--report", "r.html", "--data", "data.npz")
    assert outcome.status == 0, outcome
    lines = [line.split() for line in outcome.out.splitlines()]
    assert [line[0] for line in lines[1:5]] == ["conv", "add", "pool", "dense"]
    assert ["top-1,", "quantized"] in [line[:2] for line in lines]
    counted = {line[0]: (int(line[1]), int(line[2])) for line in lines if line[0] in ("float", "int8", "int4", "uint8")}
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["config"] == config
    assert report["accuracy"]["samples"] == 8
    for name, (before, now) in counted.items():
        assert report["types_before"].get(name, 0) == before
        assert report["tensor_types"].get(name, 0) == now
    assert counted["float"][0] > 0
    assert counted["int8"] > (0, 0)
    weighted = [layer for layer in report["layers"] if layer["weight_type"]]
    assert all(layer["weight_snr_db"] > 20 for layer in weighted)
    assert all(layer["prefix_snr_db"] > 5 and layer["output_scale"] > 0 for layer in report["layers"])


class Tags(HTMLParser):
    """Counts elements, and keeps what would be loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        for name, value in attrs:
            if name in ("src", "href", "xlink:href") and value and not value.startswith("#"):
                self.outside.append(value)


def test_the_page_stands_alone(vta: Callable, tmp_path: Path) -> None:
    net = network()
    net.graph.node[0].name = "<b>conv & co</b>"
    onnx.save(net, tmp_path / "f.onnx")
    pages = []
    for _ in range(2):
        assert vta(*QUANTIZE, "-c", "tiny", "--report", "r.html", "--weight-scale", "max").status == 0
        pages.append((tmp_path / "r.html").read_text())
    assert pages[0] == pages[1]
    tags = Tags()
    tags.feed(pages[0])
    assert not tags.outside
    assert "script" not in tags.counts
    assert tags.counts["svg"] >= 2
    assert tags.counts["tr"] > 4 + 1
    assert "b" not in tags.counts
    assert "weight_scale = max" in pages[0]


def test_every_option_reaches_the_quantizer(vta: Callable, tmp_path: Path) -> None:
    (tmp_path / "o.toml").write_text('["conv"]\nweight_bits = 4\n')
    arguments = "--calibrate-mode percentile --percentile 99 --calibrate-chunk-by 3 --nbit-input 4 --nbit-weight 4 "
    arguments += "--nbit-activation 24 --activations signed --edge-bits 0 --weight-scale power2 --rounding adaround "
    arguments += "--rounding-steps 5 --no-bias-correction --equalize --seed 4 --keep-float pool --skip-dense-layer "
    arguments += "--debug-enabled-ops Conv,Add --overrides o.toml"
    outcome = vta(*QUANTIZE, "-c", "pynq-z1", *arguments.split(), "--report", "r.json")
    assert outcome.status == 0, outcome
    settings = json.loads((tmp_path / "r.json").read_text())["settings"]
    assert settings == {
        "calibrate_mode": "percentile",
        "percentile": 99.0,
        "calibrate_chunk_by": 3,
        "nbit_input": 4,
        "nbit_weight": 4,
        "nbit_activation": 24,
        "dtype_input": "int4",
        "edge_bits": None,
        "weight_scale": "power2",
        "rounding": "adaround",
        "rounding_steps": 5,
        "bias_correction": False,
        "equalize": True,
        "seed": 4,
        "keep_float": ["pool"],
        "skip_dense_layer": True,
        "debug_enabled_ops": ["Conv", "Add"],
        "overrides": {"conv": {"weight_bits": 4}},
    }


def test_defaults_are_those_of_the_function(vta: Callable, tmp_path: Path) -> None:
    assert vta(*QUANTIZE, "-c", "tiny").status == 0
    expected = quantize(network(), load_config("tiny"), images())
    assert onnx.load(tmp_path / "q.onnx").SerializeToString() == expected.SerializeToString()


def test_simulated_and_integral_networks(vta: Callable, tmp_path: Path) -> None:
    assert vta(*QUANTIZE, "-c", "tiny", "--simulate", "--data", "data.npz").status == 0
    assert {node.op_type for node in onnx.load(tmp_path / "q.onnx").graph.node} >= {"SimQuantize", "Conv"}
    integral = ("--partition-conversions", "fully_integral", "--data", "data.npz")
    assert vta(*QUANTIZE, "-c", "tiny", *integral).status == 0
    expected = quantize(
        network(), load_config("tiny"), images(), config=QConfig(partition_conversions="fully_integral")
    )
    assert onnx.load(tmp_path / "q.onnx").SerializeToString() == expected.SerializeToString()
    assert expected.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.INT8


@pytest.mark.parametrize("config", CONFIGS)
def test_a_sweep_writes_the_best(vta: Callable, config: str, tmp_path: Path) -> None:
    scales = (0.01, 3.0, 500.0)
    outcome = vta(*QUANTIZE, "-c", config, "--global-scale", "0.01,3,500", "--data", "data.npz:x", "--labels", "l.npz")
    assert outcome.status == 1
    np.savez(tmp_path / "unlabelled.npz", x=images(64))
    outcome = vta(*QUANTIZE, "-c", config, "--global-scale", "0.01,3,500", "--data", "unlabelled.npz")
    assert outcome.status == 0, outcome
    rows = [line.split() for line in outcome.out.splitlines()[1:4]]
    assert [float(row[0]) for row in rows] == list(scales)
    same = [float(re.findall(r"([0-9.]+) %", " ".join(row))[0]) for row in rows]
    chosen = next(index for index, row in enumerate(rows) if row[-1] == "best")
    assert same[chosen] == max(same)
    assert chosen == 1
    assert min(same) < max(same)
    expected = quantize(
        network(), load_config(config), images(), config=QConfig(calibrate_mode="global_scale", global_scale=3.0)
    )
    assert onnx.load(tmp_path / "q.onnx").SerializeToString() == expected.SerializeToString()


def test_folders_of_arrays(vta: Callable, tmp_path: Path) -> None:
    x = images(8)
    (tmp_path / "parts" / "more").mkdir(parents=True)
    np.savez(tmp_path / "parts" / "a.npz", x=x[:3])
    np.savez(tmp_path / "parts" / "more" / "b.npz", x=x[3:], other=x[:1])
    assert vta("quantize", "f.onnx", "--calibration", "parts", "-o", "a.onnx", "-c", "tiny").status == 0
    assert vta("quantize", "f.onnx", "--calibration", "data.npz", "-o", "b.onnx", "-c", "tiny").status == 0
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def picture_network(channels: int = 3) -> onnx.ModelProto:
    net = NetworkBuilder("pictures", 0, (channels, 8, 10))
    return net.model(net.dense("fc", net.flatten("flat", net.conv("conv", "input", 4, 3)), 3))


@pytest.mark.parametrize(("channels", "mode", "suffix"), [(3, "RGB", ".png"), (1, "L", ".png"), (3, "L", ".jpg")])
def test_folders_of_pictures(vta: Callable, tmp_path: Path, channels: int, mode: str, suffix: str) -> None:
    """Pixels go through mean and std, channels first, in the order of the names."""
    onnx.save(picture_network(channels), tmp_path / "p.onnx")
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for index in range(20):
        pixels = rng.integers(0, 256, (8, 10, 3) if mode == "RGB" else (8, 10)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{index:02}{suffix}")
    last = np.asarray(Image.open(tmp_path / "photos" / f"19{suffix}").convert("RGB" if channels == 3 else "L"))
    source = calibration_source("photos", {"input": (None, channels, 8, 10)}, Pixels((127.5,), (64.0,)))
    batches = [np.asarray(part) for part in source]
    found = np.concatenate(batches)
    assert found.shape == (20, channels, 8, 10)
    assert len(batches) > 1
    expected = (last.reshape(8, 10, channels).astype(np.float32) - 127.5) / 64
    np.testing.assert_array_equal(found[-1], expected.transpose(2, 0, 1))
    options = ("--image-mean", "127.5", "--image-std", "64")
    outcome = vta("quantize", "p.onnx", "--calibration", "photos", "-o", "q.onnx", "-c", "tiny", *options)
    assert outcome.status == 0, outcome


def test_pictures_that_do_not_fit(refused: Callable, tmp_path: Path) -> None:
    onnx.save(picture_network(), tmp_path / "p.onnx")
    folder = tmp_path / "photos"
    folder.mkdir()
    arguments = ("quantize", "p.onnx", "--calibration", "photos", "-o", "q.onnx", "-c", "tiny")
    assert "has no npz files and no pictures" in refused(*arguments)
    Image.new("RGB", (9, 8)).save(folder / "a.png")
    assert "a.png: is 9 x 8, the network takes 10 x 8" in refused(*arguments)
    (folder / "a.png").write_bytes(b"no picture")
    assert "a.png: is no picture, or damaged" in refused(*arguments)
    np.savez(folder / "b.npz", x=images())
    assert "only one kind" in refused(*arguments)
    (folder / "b.npz").unlink()
    assert "image mean has 2 values; give 1, or 3" in refused(*arguments, "--image-mean", "1,2")
    assert "must be positive" in refused(*arguments, "--image-std", "0")
    assert "must be numbers" in refused(*arguments, "--image-mean", "black")
    assert "pictures do not fit a network that takes [N, 4, 6, 6]" in refused(
        "quantize", "f.onnx", "--calibration", "photos", "-o", "q.onnx"
    )


MISTAKES = {
    "sweep without data": (("--global-scale", "2,4"), "to choose among 2, give --data"),
    "no numbers": (("--global-scale", "2;4"), "must be numbers with commas"),
    "two modes": (("--calibrate-mode", "mse", "--percentile", "99"), "--percentile 99.0 contradicts --calibrate-mode"),
    "mode of scale": (("--calibrate-mode", "minmax", "--global-scale", "4"), "contradicts --calibrate-mode minmax"),
    "both values": (("--percentile", "99", "--global-scale", "4"), "contradicts --calibrate-mode percentile"),
    "negative scale": (("--global-scale", "2,-4", "--data", "data.npz"), "global_scale -4"),
    "wider": (("--nbit-weight", "16"), "nbit_weight 16: configuration 'tiny' has wgt_width 8"),
    "no edge": (("--edge-bits", "5"), "edge_bits 5"),
    "skip words": (("--skip-conv-layers", "first"), "must be whole numbers"),
    "skip": (("--skip-conv-layers", "3"), "the network has convolutions 0 to 0"),
    "float": (("--keep-float", "nothing"), "no node of the network is called 'nothing'"),
    "report": (("--report", "r.txt"), "must end in .json or .html"),
    "report place": (("--report", "no/r.json"), "cannot be written"),
    "overrides": (("--overrides", "none.toml"), "none.toml: No such file"),
    "labels": (("--data", "data.npz", "--labels", "data.npz:x"), "expected a whole number for each of 8"),
    "data shape": (("--data", "data.npz:wrong"), "data for 'x': shape [4, 3, 5, 5]"),
    "both results": (
        ("--simulate", "--partition-conversions", "fully_integral"),
        "partition_conversions fully_integral: do_simulation true",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_one_line(refused: Callable, case: str) -> None:
    arguments, expected = MISTAKES[case]
    assert expected in refused(*QUANTIZE, "-c", "tiny", *arguments)


def test_help_is_grouped_and_has_an_example(vta: Callable) -> None:
    text = vta("quantize", "--help").out
    for panel in ("Calibration", "Types", "Weights", "Which layers", "Result"):
        assert f" {panel} " in text
    assert "Example: vta quantize" in " ".join(text.split())
