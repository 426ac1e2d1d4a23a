"""What every configuration shares: widths of fields, sizes in DRAM, and the extensions by name."""

from __future__ import annotations

LOOP_ITER_BITS = 14
"""Width of the loop counts of GEMM and ALU instructions."""
UOP_BITS = 32
SRAM_BASE_BITS = 16
REQ_CHANNEL_BYTES = 16
"""Bytes of one channel's requantization parameters in DRAM."""
BASE_ALIGNMENT = 64
"""Base registers and the instruction address are multiples of this many bytes."""
QUEUED_INSNS = 64
"""Instructions that wait for a unit before fetch does: early ones take the bus from data that are needed now."""

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
