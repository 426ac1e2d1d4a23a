"""What the cycle model knows of the hardware and of the memory behind it, each number in one place.

Latencies are sums of pipeline registers, checked against the RTL by ``benchmarks/cost_model.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class MemoryTiming:
    """The memory behind the AXI port: what the simulators' memory model takes by default."""

    latency: int = 40
    """Cycles from an accepted address to its first data beat, and from the last data beat to a write's response."""
    beat_interval: int | Fraction = 1
    """Cycles from one data beat to the next, in each direction: 2 is half the bus."""


REFERENCE_MEMORY = MemoryTiming()
"""Memory in which cycles are given unless something else is said."""
HALF_BUS = MemoryTiming(beat_interval=2)

UNKNOWN = float("inf")
"""A time that is not decided yet."""

# Fetch and dispatch ------------------------------------------------------------------------
FETCH_BURST_BYTES = 128
"""Bytes of a fetch burst."""
PREFETCH = 32
"""Instructions requested or waiting for dispatch."""
FETCH_START = 4
"""Cycles from the launch to the first request."""
QUEUE_LATENCY = 4
"""Cycles from an instruction's last beat to where its unit sees it."""

# Read bus ----------------------------------------------------------------------------------
BURST_BEATS = 16
"""Most beats of a burst; bursts end at multiples of as many bus words."""
READS_OPEN = 16
"""Bursts requested and not yet answered."""
READ_START = 4
"""Cycles from a LOAD's issue to its first request on the bus."""

# Load unit ---------------------------------------------------------------------------------
LOADS_OPEN = 8
"""LOADs issued and not yet retired."""
LOADER_QUEUE = 5
"""LOADs of a memory that are under way."""
LANDING = 3
"""Cycles from a LOAD's last beat to where compute sees its token."""

# Compute unit ------------------------------------------------------------------------------
ISSUE_CYCLES = 2
"""From one issue to the next."""
GEMM_FIRST_STEP = 5
"""From issue to the first step."""
GEMM_DRAIN = 9
"""From the last step to the last write."""
LOOP_AHEAD = 4
"""Steps that the loop over micro-ops runs ahead of the array."""
ALU_FIRST_STEP = 5
"""From issue to the first step."""
ALU_DRAIN = 6
"""From the last step of an ALU instruction to its last write."""
REQ_DRAIN = 18
"""The same of the operation REQ."""
MUL_VECTOR = 3
"""Cycles that MUL takes for a vector."""
TOKENS_OPEN = 4
"""Tokens for each neighbour that wait for their instructions."""
RETIRE = 3
"""From an instruction's last write to where the neighbour sees its token."""
COMPUTE_LOADS = 2
"""LOADs under way in each engine of the compute unit."""

# Store unit --------------------------------------------------------------------------------
STORES_OPEN = 8
"""STOREs issued and not yet retired."""
WRITES_OPEN = 16
"""Bursts sent and not yet answered."""
STORE_START = 6
"""From the issue of a STORE to its first element in a bus word."""
REQUANT_START = 18
"""The same of one that requantizes."""
ANSWER = 4
"""From the last word made to the last beat, and from the response to where compute sees the token."""

FINISH_CYCLES = 4
"""From the end of the last instruction to that of the launch."""
