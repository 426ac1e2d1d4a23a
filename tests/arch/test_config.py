"""Configurations: legality rules and their messages, presets, upstream's JSON, fingerprints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from vta_arch.config import VTAConfig
from vta_arch.errors import ConfigError
from vta_arch.presets import DEFAULT_PRESET, load_config, load_preset, preset_names

UPSTREAM: dict[str, Any] = {
    "TARGET": "sim",
    "HW_VER": "0.0.2",
    "LOG_INP_WIDTH": 3,
    "LOG_WGT_WIDTH": 3,
    "LOG_ACC_WIDTH": 5,
    "LOG_BATCH": 0,
    "LOG_BLOCK": 4,
    "LOG_UOP_BUFF_SIZE": 15,
    "LOG_INP_BUFF_SIZE": 15,
    "LOG_WGT_BUFF_SIZE": 18,
    "LOG_ACC_BUFF_SIZE": 17,
}

ILLEGAL: dict[str, tuple[dict[str, Any], str]] = {
    "width": ({"inp_width": 3}, "inp_width = 3: must be one of 1, 2, 4, 8; the nearest is 2"),
    "weights": ({"wgt_width": 16}, "wgt_width = 16: must be one of 1, 2, 4, 8; the nearest is 8"),
    "accumulator": ({"acc_width": 24}, "acc_width = 24: must be one of 16, 32; the nearest is 16"),
    "batch": ({"batch": 3}, "batch = 3"),
    "block": ({"block_in": 12}, "block_in = 12: .* the nearest is 8"),
    "bus": ({"axi_data_width": 100}, "axi_data_width = 100: .* the nearest is 128"),
    "address": ({"axi_addr_width": 20}, "axi_addr_width = 20: must be one of 32 to 64; the nearest is 32"),
    "extension": ({"extensions": frozenset({"warp"})}, "extension 'warp' is unknown"),
    "clock": ({"clock_mhz": 0.5}, "clock_mhz = 0.5"),
    "type": ({"inp_width": "8"}, "inp_width = '8': must be of type int"),
    "flag": ({"batch": True}, "batch = True: must be of type int"),
    "element": ({"inp_width": 1, "block_in": 4}, "inp element has 4 bits: an element is at least one byte"),
    "uop depth": ({"log_uop_buff": 16}, r"2U\+37 <= 64 .* the nearest legal log_uop_buff is 15"),
    "acc depth": ({"log_acc_buff": 18}, r"4A\+20 <= 64 .* the nearest legal log_acc_buff is 17"),
    "inp depth": ({"log_inp_buff": 21}, "sram_base has 16 bits.* the nearest legal log_inp_buff is 20"),
    "no depth": ({"log_wgt_buff": 8}, "holds no 2 elements of the wgt memory; the nearest legal log_wgt_buff is 9"),
    "gemm factors": ({"log_inp_buff": 16, "log_wgt_buff": 19}, r"2\(A\+I\+W\) <= 64"),
    "micro-op": (
        {"log_inp_buff": 13, "log_wgt_buff": 19, "log_acc_buff": 17},
        r"A\+max\(A,I\)\+W <= 32 .* the nearest legal log_wgt_buff is 18",
    ),
}


@pytest.mark.parametrize("rule", list(ILLEGAL))
def test_illegal(rule: str) -> None:
    values, message = ILLEGAL[rule]
    with pytest.raises(ConfigError, match=message) as caught:
        VTAConfig(**values)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", preset_names())
def test_presets(name: str) -> None:
    cfg = load_preset(name)
    assert cfg.name == name
    assert VTAConfig.from_dict(cfg.to_dict()) == cfg
    a, i, w, u = cfg.log_acc_depth, cfg.log_inp_depth, cfg.log_wgt_depth, cfg.log_uop_depth
    assert 2 * u + 37 <= 64
    assert 2 * (a + i + w) <= 64
    assert 4 * a + 20 <= 64
    assert a + max(a, i) + w <= 32


def test_default_preset_and_names() -> None:
    assert preset_names()[0] == DEFAULT_PRESET == "pynq-z1"
    wanted = {"pynq-z1", "pynq-z2", "ultra96", "zcu104", "kv260", "classic", "tiny", "w4a8", "int4", "int2", "int1"}
    assert set(preset_names()) == wanted | {"mlperf-tiny", "int4-pynq"}
    with pytest.raises(ConfigError, match="neither a preset nor a file"):
        load_config("pynq-z9")


def test_classic_has_upstreams_sizes() -> None:
    cfg = load_preset("classic")
    assert (cfg.uop_depth, cfg.inp_depth, cfg.wgt_depth, cfg.acc_depth) == (8192, 2048, 1024, 2048)
    assert (cfg.inp_elem_bytes, cfg.wgt_elem_bytes, cfg.acc_elem_bytes, cfg.out_elem_bytes) == (16, 256, 64, 16)
    assert cfg.acc8_elem_bytes == 16
    assert cfg.extensions == frozenset()


@pytest.mark.parametrize("split", [False, True])
def test_upstream_json(tmp_path: Path, split: bool) -> None:
    values = dict(UPSTREAM)
    if split:
        values |= {"LOG_BLOCK_IN": 4, "LOG_BLOCK_OUT": 4}
        del values["LOG_BLOCK"]
    path = tmp_path / "vta_config.json"
    path.write_text(json.dumps(values))
    cfg = load_config(path)
    assert cfg.fingerprint() == load_preset("classic").fingerprint()


BAD_UPSTREAM: dict[str, tuple[dict[str, Any], str]] = {
    "missing": ({"LOG_BATCH": None}, "entry LOG_BATCH is missing"),
    "type": ({"LOG_BATCH": "0"}, "LOG_BATCH = '0': must be a whole number"),
    "range": ({"LOG_BATCH": 99}, "LOG_BATCH = 99"),
    "unknown": ({"LOG_WARP": 1}, "unknown entry 'LOG_WARP'"),
    "out": ({"LOG_OUT_WIDTH": 5}, "LOG_OUT_WIDTH = 5: must equal LOG_INP_WIDTH"),
    "illegal": ({"LOG_ACC_BUFF_SIZE": 20}, r"4A\+20 <= 64"),
}


@pytest.mark.parametrize("case", list(BAD_UPSTREAM))
def test_bad_upstream_json(tmp_path: Path, case: str) -> None:
    changes, message = BAD_UPSTREAM[case]
    values = {key: value for key, value in {**UPSTREAM, **changes}.items() if value is not None}
    path = tmp_path / "vta_config.json"
    path.write_text(json.dumps(values))
    with pytest.raises(ConfigError, match=message):
        load_config(path)


@pytest.mark.parametrize("text", ["{", "batch = ", "[1, 2", "\x00\x01", '{"a": ' * 50_000])
def test_file_that_is_no_configuration(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="neither TOML nor JSON"):
        load_config(path)


def test_unknown_parameter(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("blocks = 4\n")
    with pytest.raises(ConfigError, match="unknown parameter 'blocks'; known: acc_width"):
        load_config(path)


def test_fingerprint_is_stable_and_ignores_names() -> None:
    assert VTAConfig().fingerprint_hex == FINGERPRINT
    assert VTAConfig(name="x", board="b", clock_mhz=55).fingerprint_hex == FINGERPRINT
    changes: list[dict[str, Any]] = [{}, {"batch": 2}, {"inp_signed": False}, {"wgt_width": 4, "log_wgt_buff": 16}]
    assert len({VTAConfig(**change).fingerprint() for change in changes}) == len(changes)


# A change of this number orphans every compiled program and every bitstream: it must be deliberate.
FINGERPRINT = "485a3804569f1872"
