"""Whether a configuration can be built, and encoded in the instruction set. Raises ConfigError with the way out."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from .constants import DEPTHWISE_GROUP, EXTENSIONS, SRAM_BASE_BITS
from .errors import ConfigError

if TYPE_CHECKING:
    from .config import VTAConfig

_LEGAL_VALUES: dict[str, tuple[int, ...]] = {
    "inp_width": (1, 2, 4, 8),
    "wgt_width": (1, 2, 4, 8),
    "acc_width": (16, 32),
    "batch": (1, 2, 4, 8, 16),
    "block_in": (1, 2, 4, 8, 16, 32, 64, 128),
    "block_out": (1, 2, 4, 8, 16, 32, 64, 128),
    "axi_data_width": (32, 64, 128, 256, 512),
    "axi_addr_width": tuple(range(32, 65)),
    "log_req_depth": tuple(range(1, 11)),
    "requant_lanes": (0, 1, 2, 4, 8, 16, 32, 64, 128),
}


def check_config(cfg: VTAConfig) -> None:
    """Raise ConfigError, naming the parameter, its value, the rule and the nearest legal value, if there is one."""
    _check_types(cfg)
    _check_values(cfg)
    _check_encoding(cfg)


def _nearest(value: int, legal: tuple[int, ...]) -> int:
    return min(legal, key=lambda choice: (abs(choice - value), choice))


def _check_types(cfg: VTAConfig) -> None:
    kinds: dict[str, tuple[type, ...]] = {"int": (int,), "bool": (bool,), "str": (str,), "float": (int, float)}
    for item in dataclasses.fields(cfg):
        kind = kinds.get(str(item.type))
        value = getattr(cfg, item.name)
        if kind is None:
            continue
        if not isinstance(value, kind) or (isinstance(value, bool) and item.type != "bool"):
            raise ConfigError(f"{item.name} = {value!r}: must be of type {item.type}")


def _check_values(cfg: VTAConfig) -> None:
    for name, legal in _LEGAL_VALUES.items():
        value = getattr(cfg, name)
        if value not in legal:
            shown = (
                f"{legal[0]} to {legal[-1]}"
                if name in ("axi_addr_width", "log_req_depth")
                else ", ".join(map(str, legal))
            )
            raise ConfigError(f"{name} = {value}: must be one of {shown}; the nearest is {_nearest(value, legal)}")
    for name in sorted(cfg.extensions):
        if name not in EXTENSIONS:
            known = ", ".join(sorted(EXTENSIONS)) or "none"
            raise ConfigError(f"extension {name!r} is unknown; known extensions: {known}")
    _check_depthwise(cfg)
    if not 1 <= cfg.clock_mhz <= 2000:
        raise ConfigError(f"clock_mhz = {cfg.clock_mhz}: must be from 1 to 2000")
    for memory in ("inp", "wgt", "out"):
        bits = getattr(cfg, f"{memory}_elem_bits")
        if bits < 8:
            raise ConfigError(
                f"{memory} element has {bits} bits: an element is at least one byte; raise the block size or the width"
            )


def _check_depthwise(cfg: VTAConfig) -> None:
    """A depthwise step pairs input and output channels, and needs weights that can be zero."""
    if "depthwise" not in cfg.extensions:
        return
    if cfg.block_in != cfg.block_out or cfg.block_in < DEPTHWISE_GROUP:
        raise ConfigError(
            f"extension 'depthwise' needs block_in = block_out >= {DEPTHWISE_GROUP}, found {cfg.block_in} and "
            f"{cfg.block_out}; make them equal or leave the extension out"
        )
    if cfg.wgt_width == 1:
        raise ConfigError("extension 'depthwise' needs weights of 2 bits or more: a 1-bit weight cannot be 0")


def _check_depth(cfg: VTAConfig, memory: str, limit: int, rule: str, least: int) -> None:
    depth = getattr(cfg, f"log_{memory}_depth")
    buff = getattr(cfg, f"log_{memory}_buff")
    if depth > limit:
        raise ConfigError(
            f"log_{memory}_buff = {buff} makes a log {memory} depth of {depth}: cannot be encoded, {rule}; "
            f"the nearest legal log_{memory}_buff is {buff - depth + limit}"
        )
    if depth < least:
        raise ConfigError(
            f"log_{memory}_buff = {buff} holds no {1 << least} elements of the {memory} memory; "
            f"the nearest legal log_{memory}_buff is {buff - depth + least}"
        )


def _check_encoding(cfg: VTAConfig) -> None:
    """The fields of an instruction must fit its two 64-bit words and a micro-op its 32 bits."""
    _check_depth(cfg, "uop", 13, "2U+37 <= 64 (two micro-op indices share a word)", 1)
    _check_depth(cfg, "acc", 11, "4A+20 <= 64 (four ALU factors share a word)", 1)
    for memory in ("inp", "wgt"):
        _check_depth(cfg, memory, SRAM_BASE_BITS, f"sram_base has {SRAM_BASE_BITS} bits", 1)
    _check_depths_together(cfg)
    # The extensions' bits are known to the instruction set, which imports the configuration.
    from .isa import Opcode, insn_fields

    for opcode in Opcode:
        insn_fields(cfg, opcode)


def _check_depths_together(cfg: VTAConfig) -> None:
    a, i, w = cfg.log_acc_depth, cfg.log_inp_depth, cfg.log_wgt_depth
    rules = (
        (a + i + w - 32, "2(A+I+W) <= 64 (six GEMM factors share a word)"),
        (a + max(a, i) + w - 32, "A+max(A,I)+W <= 32 (three indices share a micro-op)"),
    )
    for excess, rule in rules:
        if excess > 0:
            memory = "wgt" if w > excess else "inp"
            buff = getattr(cfg, f"log_{memory}_buff")
            raise ConfigError(
                f"log depths acc {a}, inp {i}, wgt {w} (log_acc_buff {cfg.log_acc_buff}, log_inp_buff "
                f"{cfg.log_inp_buff}, log_wgt_buff {cfg.log_wgt_buff}) cannot be encoded, {rule}; "
                f"the nearest legal log_{memory}_buff is {buff - excess}"
            )
