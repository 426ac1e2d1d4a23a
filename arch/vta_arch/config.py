"""The configuration that hardware, quantizer, compiler, simulators and drivers share.

One frozen dataclass holds the chosen parameters; every derived size is a property of it. A
configuration that cannot be encoded in the instruction set is refused when it is made.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from .config_checks import check_config
from .constants import (
    BASE_ALIGNMENT,
    DEPTHWISE_GROUP,
    DEPTHWISE_OUTPUTS,
    DEPTHWISE_TAPS,
    EXTENSIONS,
    LOOP_ITER_BITS,
    REQ_CHANNEL_BYTES,
    SRAM_BASE_BITS,
    UOP_BITS,
)
from .errors import ConfigError

__all__ = [
    "BASE_ALIGNMENT",
    "DEPTHWISE_GROUP",
    "DEPTHWISE_OUTPUTS",
    "DEPTHWISE_TAPS",
    "EXTENSIONS",
    "LOOP_ITER_BITS",
    "REQ_CHANNEL_BYTES",
    "SRAM_BASE_BITS",
    "UOP_BITS",
    "VTAConfig",
]

_UNHASHED = ("name", "board", "clock_mhz")


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
        check_config(self)

    @cached_property
    def _hash(self) -> int:
        return hash(tuple(getattr(self, item.name) for item in dataclasses.fields(self)))

    def __hash__(self) -> int:
        """Computed once: tables that belong to a configuration are looked up for every instruction."""
        return self._hash

    def __getstate__(self) -> dict[str, Any]:
        """Without the hash, which another process has different."""
        return {name: value for name, value in vars(self).items() if name != "_hash"}

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
