"""Named configurations, and reading a configuration from a file."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from .config import VTAConfig
from .errors import ConfigError

DEFAULT_PRESET = "pynq-z1"
_FILE_LIMIT = 1 << 20


def preset_names() -> list[str]:
    """Names of the presets that ship with the framework, the default one first."""
    folder = resources.files("vta_arch") / "presets"
    names = sorted(entry.name[: -len(".toml")] for entry in folder.iterdir() if entry.name.endswith(".toml"))
    return sorted(names, key=lambda name: name != DEFAULT_PRESET)


def load_preset(name: str) -> VTAConfig:
    """The preset called ``name``. Raises ConfigError if there is none."""
    if name not in preset_names():
        raise ConfigError(
            f"configuration {name!r} is neither a preset nor a file; presets: {', '.join(preset_names())}"
        )
    text = (resources.files("vta_arch") / "presets" / f"{name}.toml").read_text(encoding="utf-8")
    return VTAConfig.from_dict({"name": name, **_parse_toml(text)}, source=name)


def load_config(name_or_file: str | Path) -> VTAConfig:
    """A preset by name, or a TOML file of our fields, or upstream's ``vta_config.json``.

    Raises ConfigError naming the file and what is wrong with it.
    """
    if str(name_or_file) in preset_names():
        return load_preset(str(name_or_file))
    path = Path(name_or_file)
    if not path.is_file():
        return load_preset(str(name_or_file))
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    if len(raw) > _FILE_LIMIT:
        raise ConfigError(f"{path}: {len(raw)} bytes is too large for a configuration (limit {_FILE_LIMIT})")
    values = _parse(path, raw)
    if any(key.startswith("LOG_") for key in values):
        return from_upstream(values, name=path.stem, source=str(path))
    return VTAConfig.from_dict({"name": path.stem, **values}, source=str(path))


def _parse_toml(text: str) -> dict[str, Any]:
    """A table of TOML. Raises ConfigError on Python 3.10, which boards have; a program brings its configuration."""
    try:
        import tomllib
    except ModuleNotFoundError:
        raise ConfigError("presets and TOML files need Python 3.11 or newer; write the configuration as JSON") from None
    return tomllib.loads(text)


def _parse(path: Path, raw: bytes) -> dict[str, Any]:
    try:
        text = raw.decode("utf-8")
        values = json.loads(text) if text.lstrip().startswith("{") else _parse_toml(text)
    except (ValueError, RecursionError) as error:  # ValueError: of UTF-8, JSON and TOML
        raise ConfigError(f"{path}: is neither TOML nor JSON: {str(error).splitlines()[0]}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a table of parameters, found {type(values).__name__}")
    return values


_UPSTREAM_LOGS = {
    "LOG_INP_WIDTH": "inp_width",
    "LOG_WGT_WIDTH": "wgt_width",
    "LOG_ACC_WIDTH": "acc_width",
    "LOG_BATCH": "batch",
    "LOG_BLOCK_IN": "block_in",
    "LOG_BLOCK_OUT": "block_out",
}
_UPSTREAM_SIZES = {
    "LOG_UOP_BUFF_SIZE": "log_uop_buff",
    "LOG_INP_BUFF_SIZE": "log_inp_buff",
    "LOG_WGT_BUFF_SIZE": "log_wgt_buff",
    "LOG_ACC_BUFF_SIZE": "log_acc_buff",
}
_UPSTREAM_OTHER = {"TARGET", "HW_VER", "LOG_BLOCK", "LOG_OUT_WIDTH", "LOG_OUT_BUFF_SIZE", "GEMM_II", "TALU_II"}


def from_upstream(values: dict[str, Any], *, name: str, source: str) -> VTAConfig:
    """A configuration from upstream's ``vta_config.json``: no extensions, every int8 weight legal.

    Raises ConfigError for a missing, unknown or illegal entry.
    """
    values = dict(values)
    if "LOG_BLOCK" in values:
        values.setdefault("LOG_BLOCK_IN", values["LOG_BLOCK"])
        values.setdefault("LOG_BLOCK_OUT", values["LOG_BLOCK"])
    for key, value in values.items():
        if key in _UPSTREAM_LOGS or key in _UPSTREAM_SIZES:
            if type(value) is not int or not 0 <= value <= 32:
                raise ConfigError(f"{source}: {key} = {value!r}: must be a whole number from 0 to 32")
        elif key not in _UPSTREAM_OTHER:
            raise ConfigError(f"{source}: unknown entry {key!r} in an upstream vta_config.json")
    missing = [key for key in (*_UPSTREAM_LOGS, *_UPSTREAM_SIZES) if key not in values]
    if missing:
        raise ConfigError(f"{source}: entry {missing[0]} is missing")
    if values.get("LOG_OUT_WIDTH", values["LOG_INP_WIDTH"]) != values["LOG_INP_WIDTH"]:
        raise ConfigError(f"{source}: LOG_OUT_WIDTH = {values['LOG_OUT_WIDTH']}: must equal LOG_INP_WIDTH")
    fields: dict[str, Any] = {field: 1 << values[key] for key, field in _UPSTREAM_LOGS.items()}
    fields |= {field: values[key] for key, field in _UPSTREAM_SIZES.items()}
    return VTAConfig(name=name, **fields)
