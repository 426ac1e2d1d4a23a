"""The configuration that hardware, quantizer, compiler, simulators and drivers share.

One frozen dataclass holds the chosen parameters; every derived size is a property of it. A
configuration that cannot be encoded in the instruction set is refused when it is made.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from .errors import ConfigError

LOOP_ITER_BITS = 14
"""Width of the loop counts of GEMM and ALU instructions."""
UOP_BITS = 32
SRAM_BASE_BITS = 16
REQ_CHANNEL_BYTES = 16
"""Bytes of one channel's requantization parameters in DRAM."""
BASE_ALIGNMENT = 64
"""Base registers and the instruction address are multiples of this many bytes."""

EXTENSIONS: dict[str, int] = {"overlap": 0, "requant": 1, "pad_value": 2, "depthwise": 3}
"""Name of each instruction-set extension -> its bit in the capability register.

overlap: a GEMM or ALU instruction may declare that it stays in one accumulator bank, so that work in
the other bank goes on beside it, and a GEMM may overwrite its accumulators instead of adding to them.
A token of a declared instruction says that this instruction is done, and what is older in its bank; any
other token says that everything older in its unit is done.

requant: STORE, and an ALU operation from accumulator to accumulator, requantize with a bias, a multiplier, a zero
point and a clamp for each channel; see :mod:`vta_arch.requant`.

pad_value: LOAD pads with a given value instead of zero bits.

depthwise: an opcode for convolutions of one channel each (or of two), several taps and outputs a cycle.
"""

DEPTHWISE_TAPS = 4
"""Most neighbouring input vectors that a depthwise step reads: banks of the input scratchpad."""
DEPTHWISE_OUTPUTS = 2
"""Most neighbouring accumulators that a depthwise step adds to."""
DEPTHWISE_GROUP = 2
"""Channels of a depthwise group: each output channel sees the inputs of its pair."""

_UNHASHED = ("name", "board", "clock_mhz")


def _is_power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


def _nearest(value: int, legal: tuple[int, ...]) -> int:
    return min(legal, key=lambda choice: (abs(choice - value), choice))


@dataclass(frozen=True, kw_only=True)
class VTAConfig:
    """Every parameter of an accelerator. Sizes named ``log_*`` are base-2 logarithms of bytes.

    Raises :class:`ConfigError` when the parameters cannot be encoded or built.
    """

    name: str = "custom"
    inp_width: int = 8
    """Bits of an activation: 1, 2, 4 or 8."""
    wgt_width: int = 8
    """Bits of a weight: 1, 2, 4 or 8. A 1-bit weight is +1 (bit set) or -1."""
    acc_width: int = 32
    """Bits of an accumulator: 16 or 32."""
    inp_signed: bool = True
    """Two's complement activations; 1-bit activations are always 0 or 1."""
    batch: int = 1
    """Rows of an input vector and of an accumulator vector."""
    block_in: int = 16
    """Columns of an input vector: the reduction of one GEMM micro-op."""
    block_out: int = 16
    """Columns of an accumulator vector: the outputs of one GEMM micro-op."""
    log_uop_buff: int = 13
    log_inp_buff: int = 16
    log_wgt_buff: int = 17
    log_acc_buff: int = 17
    log_req_depth: int = 8
    """Base-2 logarithm of the vectors of requantization parameters on the chip (extension ``requant``)."""
    requant_lanes: int = 0
    """Elements requantized a cycle (extension ``requant``), a power of two; 0: as many as the bus takes."""
    axi_data_width: int = 64
    axi_addr_width: int = 32
    extensions: frozenset[str] = field(default_factory=frozenset)
    board: str = ""
    """Board that the clock was chosen for, '' if none."""
    clock_mhz: float = 100.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "extensions", frozenset(self.extensions))
        _check_types(self)
        _check_values(self)
        _check_encoding(self)

    # Element sizes, in bits and bytes ------------------------------------------------------
    @property
    def inp_elem_bits(self) -> int:
        return self.batch * self.block_in * self.inp_width

    @property
    def wgt_elem_bits(self) -> int:
        return self.block_out * self.block_in * self.wgt_width

    @property
    def acc_elem_bits(self) -> int:
        return self.batch * self.block_out * self.acc_width

    @property
    def acc8_elem_bits(self) -> int:
        """ACC_8BIT in DRAM: an accumulator vector whose elements have 8 bits each."""
        return self.batch * self.block_out * 8

    @property
    def out_elem_bits(self) -> int:
        return self.batch * self.block_out * self.inp_width

    @property
    def uop_elem_bytes(self) -> int:
        return UOP_BITS // 8

    @property
    def inp_elem_bytes(self) -> int:
        return self.inp_elem_bits // 8

    @property
    def wgt_elem_bytes(self) -> int:
        return self.wgt_elem_bits // 8

    @property
    def acc_elem_bytes(self) -> int:
        return self.acc_elem_bits // 8

    @property
    def acc8_elem_bytes(self) -> int:
        return self.acc8_elem_bits // 8

    @property
    def out_elem_bytes(self) -> int:
        return self.out_elem_bits // 8

    @property
    def req_elem_bytes(self) -> int:
        """A vector of requantization parameters: one set for each output channel of a block."""
        return self.block_out * REQ_CHANNEL_BYTES

    @property
    def requant_width(self) -> int:
        """Elements that the requantizer takes a cycle."""
        vector = self.batch * self.block_out
        return min(vector, self.requant_lanes or max(1, self.axi_data_width // self.inp_width))

    # Depthwise steps -----------------------------------------------------------------------
    @property
    def depthwise_taps(self) -> int:
        """Neighbouring input vectors that a depthwise step reads."""
        return min(DEPTHWISE_TAPS, self.block_in // DEPTHWISE_GROUP)

    @property
    def depthwise_outputs(self) -> int:
        """Neighbouring accumulators that a depthwise step adds to."""
        return min(DEPTHWISE_OUTPUTS, self.block_in // (DEPTHWISE_GROUP * self.depthwise_taps))

    # Scratchpad depths, in elements --------------------------------------------------------
    @property
    def log_uop_depth(self) -> int:
        return self.log_uop_buff - 2

    @property
    def log_inp_depth(self) -> int:
        return self.log_inp_buff + 3 - (self.inp_elem_bits.bit_length() - 1)

    @property
    def log_wgt_depth(self) -> int:
        return self.log_wgt_buff + 3 - (self.wgt_elem_bits.bit_length() - 1)

    @property
    def log_acc_depth(self) -> int:
        return self.log_acc_buff + 3 - (self.acc_elem_bits.bit_length() - 1)

    @property
    def req_depth(self) -> int:
        return 1 << self.log_req_depth

    @property
    def uop_depth(self) -> int:
        return 1 << self.log_uop_depth

    @property
    def inp_depth(self) -> int:
        return 1 << self.log_inp_depth

    @property
    def wgt_depth(self) -> int:
        return 1 << self.log_wgt_depth

    @property
    def acc_depth(self) -> int:
        return 1 << self.log_acc_depth

    # Ranges --------------------------------------------------------------------------------
    @property
    def inp_is_signed(self) -> bool:
        """Whether activation bits are two's complement (1-bit activations never are)."""
        return self.inp_signed and self.inp_width > 1

    @property
    def inp_min(self) -> int:
        return -(1 << (self.inp_width - 1)) if self.inp_is_signed else 0

    @property
    def inp_max(self) -> int:
        return (1 << (self.inp_width - 1)) - 1 if self.inp_is_signed else (1 << self.inp_width) - 1

    @property
    def wgt_min(self) -> int:
        return -1 if self.wgt_width == 1 else -(1 << (self.wgt_width - 1))

    @property
    def wgt_max(self) -> int:
        return 1 if self.wgt_width == 1 else (1 << (self.wgt_width - 1)) - 1

    @property
    def acc_min(self) -> int:
        return -(1 << (self.acc_width - 1))

    @property
    def acc_max(self) -> int:
        return (1 << (self.acc_width - 1)) - 1

    # Identity ------------------------------------------------------------------------------
    @property
    def macs_per_cycle(self) -> int:
        return self.batch * self.block_in * self.block_out

    @property
    def capabilities(self) -> int:
        """Value of the capability register: one bit for each extension."""
        return sum(1 << EXTENSIONS[name] for name in self.extensions)

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values; :meth:`from_dict` reads them back."""
        values = dataclasses.asdict(self)
        values["extensions"] = sorted(self.extensions)
        return values

    @classmethod
    def from_dict(cls, values: object, source: str = "configuration") -> VTAConfig:
        """Build from JSON values. Raises ConfigError for anything but a legal configuration."""
        if not isinstance(values, dict):
            raise ConfigError(f"{source}: expected a table of parameters, found {type(values).__name__}")
        known = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(str(key) for key in values if key not in known)
        if unknown:
            raise ConfigError(f"{source}: unknown parameter {unknown[0]!r}; known: {', '.join(sorted(known))}")
        values = dict(values)
        names = values.get("extensions", [])
        if not isinstance(names, list | tuple | set | frozenset) or not all(isinstance(n, str) for n in names):
            raise ConfigError(f"{source}: extensions must be a list of names, found {names!r}")
        values["extensions"] = frozenset(names)
        return cls(**values)

    def fingerprint(self) -> int:
        """Stable 64-bit hash of all that hardware and software must agree on.

        The name, the board and the clock are left out: they change no bit of any result.
        """
        values = {key: value for key, value in self.to_dict().items() if key not in _UNHASHED}
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")

    @property
    def fingerprint_hex(self) -> str:
        """The fingerprint as 16 hexadecimal digits, as it is printed and stored."""
        return f"{self.fingerprint():016x}"


def _check_types(cfg: VTAConfig) -> None:
    kinds: dict[str, tuple[type, ...]] = {"int": (int,), "bool": (bool,), "str": (str,), "float": (int, float)}
    for item in dataclasses.fields(cfg):
        kind = kinds.get(str(item.type))
        value = getattr(cfg, item.name)
        if kind is None:
            continue
        if not isinstance(value, kind) or (isinstance(value, bool) and item.type != "bool"):
            raise ConfigError(f"{item.name} = {value!r}: must be of type {item.type}")


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
    # The extensions' bits are known to the instruction set, which imports this module.
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
