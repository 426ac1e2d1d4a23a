"""The register map of the AXI-Lite port, as data.

Hardware, driver, C header and documentation are made from :data:`REGISTERS`. Every register has
32 bits; a 64-bit quantity is a pair of registers, low word first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntFlag

from .isa import Memory

IDENT = 0x56544121
"""Value of the IDENT register."""
HW_VERSION = 0x00000200
"""HW_VER 0.0.2 as bytes: reserved, major, minor, patch of upstream's numbering, from the top."""
CONTROL_ADDRESS_BITS = 12
"""Address width of the AXI-Lite port: 4 KiB."""
DEADLOCK_CYCLES = 1024
"""Cycles without any progress after which waiting units are reported as a deadlock."""


class Access(Enum):
    RO = "read only"
    RW = "read and write"
    W1S = "write 1 to set; clears itself"
    W1C = "write 1 to clear"


WINDOW_PAGE = 4096
"""The DMA window's ends are multiples of this many bytes: no burst crosses such a boundary."""
NO_INSN = 0xFFFFFFFF
"""ERROR_INSN of a run in which no instruction is to blame."""
COUNTER_BITS = 48
"""Bits of an event counter; a byte counter counts bus words in as many. They wrap after days."""


class Errors(IntFlag):
    """Bits of the ERRORS register: sticky, cleared by START."""

    INDEX_RANGE = 1 << 0
    UNKNOWN_OPCODE = 1 << 1
    UNKNOWN_MEMORY = 1 << 2
    AXI_READ = 1 << 3
    AXI_WRITE = 1 << 4
    DEADLOCK = 1 << 5
    NO_FINISH = 1 << 6
    ONE_BANK = 1 << 7
    WATCHDOG = 1 << 8
    DMA_WINDOW = 1 << 9


ERROR_TEXT: dict[Errors, str] = {
    Errors.INDEX_RANGE: "a scratchpad index went past the memory's end and wrapped",
    Errors.UNKNOWN_OPCODE: "an instruction of unknown opcode was dropped",
    Errors.UNKNOWN_MEMORY: "a LOAD of an unknown memory type moved nothing",
    Errors.AXI_READ: "the memory answered a read with an error",
    Errors.AXI_WRITE: "the memory answered a write with an error",
    Errors.DEADLOCK: "units wait for tokens that nobody will give",
    Errors.NO_FINISH: "the stream ended without FINISH",
    Errors.ONE_BANK: "an instruction that declared one accumulator bank touched the other",
    Errors.WATCHDOG: "nothing moved for as long as WATCHDOG allows",
    Errors.DMA_WINDOW: "a transfer outside the DMA window was not put on the bus",
}


FATAL = Errors.AXI_READ | Errors.AXI_WRITE | Errors.WATCHDOG | Errors.DMA_WINDOW
"""Errors that end the run at once: what was begun on the bus is completed, all else is dropped."""


class Status(IntFlag):
    """Bits of the STATUS register."""

    RUNNING = 1 << 0
    DONE = 1 << 1
    ERROR = 1 << 2
    RESETTING = 1 << 3
    WAIT_LOAD = 1 << 8
    WAIT_COMPUTE = 1 << 9
    WAIT_STORE = 1 << 10


class Control(IntFlag):
    """Bits of the CONTROL register."""

    START = 1 << 0
    RESET = 1 << 1


class Irq(IntFlag):
    """Bits of the IRQ_ENABLE and IRQ_STATUS registers."""

    DONE = 1 << 0


@dataclass(frozen=True)
class Register:
    """One 32-bit register, or one word of a 64-bit pair."""

    name: str
    offset: int
    access: Access
    help: str
    bits: type[IntFlag] | None = field(default=None)


def _pair(name: str, offset: int, access: Access, text: str) -> list[Register]:
    return [
        Register(f"{name}_LO", offset, access, f"{text} (bits 31:0)"),
        Register(f"{name}_HI", offset + 4, access, f"{text} (bits 63:32)"),
    ]


BASE_MEMORIES: dict[Memory, str] = {
    Memory.UOP: "BASE_UOP",
    Memory.WGT: "BASE_WGT",
    Memory.INP: "BASE_INP",
    Memory.ACC: "BASE_ACC",
    Memory.OUT: "BASE_OUT",
}
"""Base register of each memory type; ACC_8BIT shares that of ACC."""

COUNTERS: dict[str, str] = {
    "ARRAY_BUSY": "cycles in which the multiplier array worked",
    "STALL_INPUT": "cycles in which it waited for the load of inputs",
    "STALL_WEIGHT": "cycles in which it waited for the load of weights",
    "STALL_UOP": "cycles in which it waited for the load of micro-ops",
    "STALL_ACC": "cycles in which it waited for the load of accumulators",
    "STALL_ALU": "cycles in which it waited for the ALU",
    "STALL_TOKEN": "cycles in which compute waited for a token or for room for one while load and store did nothing",
    "STALL_STORE": "cycles in which it waited for the store unit",
    "STALL_INSN": "cycles in which compute had no instruction",
    "STALL_OTHER": "cycles in which instructions were issued or ended",
    "READ_INSN": "bytes read as instructions",
    "READ_UOP": "bytes read as micro-ops",
    "READ_WGT": "bytes read as weights",
    "READ_INP": "bytes read as inputs",
    "READ_ACC": "bytes read as accumulators, 8-bit ones included",
    "WRITE_OUT": "bytes written as outputs",
}
"""Event counters of the run, each a pair of registers. ARRAY_BUSY and the STALL counters divide all cycles
of the run among them; bytes are whole bus words."""
BYTE_COUNTERS = tuple(name for name in COUNTERS if name.startswith(("READ_", "WRITE_")))
COUNTERS_OFFSET = 0x80
"""Byte offset of the first counter; the others follow in the order of :data:`COUNTERS`."""

REGISTERS: tuple[Register, ...] = (
    Register("IDENT", 0x00, Access.RO, "identifies the accelerator"),
    Register("VERSION", 0x04, Access.RO, "instruction set version"),
    Register("CAPABILITY", 0x08, Access.RO, "one bit for each extension"),
    *_pair("FINGERPRINT", 0x10, Access.RO, "fingerprint of the configuration"),
    Register(
        "CONTROL",
        0x18,
        Access.W1S,
        "START begins a run, ignored while one is under way or the accelerator is resetting; RESET ends a run without "
        "DONE, completes what it began on the bus, and clears units, queues, tokens and errors",
        Control,
    ),
    Register("STATUS", 0x1C, Access.RO, "state of the run; WAIT bits name units that wait for a token", Status),
    Register("ERRORS", 0x20, Access.RO, "sticky errors of the run", Errors),
    Register("IRQ_ENABLE", 0x24, Access.RW, "events that raise the interrupt", Irq),
    Register("IRQ_STATUS", 0x28, Access.W1C, "events since they were last cleared", Irq),
    Register("INSN_COUNT", 0x2C, Access.RW, "instructions in the stream"),
    *_pair("INSN_ADDRESS", 0x30, Access.RW, "byte address of the stream, a multiple of 64"),
    *_pair("CYCLES", 0x38, Access.RO, "cycles from START to the end of the run"),
    *_pair("BASE_UOP", 0x40, Access.RW, "byte address added to UOP addresses"),
    *_pair("BASE_WGT", 0x48, Access.RW, "byte address added to WGT addresses"),
    *_pair("BASE_INP", 0x50, Access.RW, "byte address added to INP addresses"),
    *_pair("BASE_ACC", 0x58, Access.RW, "byte address added to ACC and ACC_8BIT addresses"),
    *_pair("BASE_OUT", 0x60, Access.RW, "byte address added to OUT addresses"),
    Register(
        "ERROR_INSN",
        0x68,
        Access.RO,
        f"index in the stream of the first instruction to blame for an error; {NO_INSN:#x} if there is none",
    ),
    Register("WATCHDOG", 0x6C, Access.RW, "cycles without any progress after which the run ends; 0: without limit"),
    *_pair("DMA_BASE", 0x70, Access.RW, f"first byte address of the DMA window, rounded down to {WINDOW_PAGE} bytes"),
    *_pair(
        "DMA_LIMIT",
        0x78,
        Access.RW,
        f"byte address beyond the DMA window, rounded down to {WINDOW_PAGE} bytes; 0: the window has no end",
    ),
    *(
        register
        for index, (name, text) in enumerate(COUNTERS.items())
        for register in _pair(name, COUNTERS_OFFSET + 8 * index, Access.RO, text)
    ),
)

OFFSETS: dict[str, int] = {register.name: register.offset for register in REGISTERS}
"""Byte offset of each register by name."""


def describe_errors(errors: int, status: int) -> str:
    """One line that names every error bit, and for a deadlock the waiting units; '' if none."""
    parts = [ERROR_TEXT[bit] for bit in Errors if errors & bit]
    waiting = [
        name
        for name, bit in (("load", Status.WAIT_LOAD), ("compute", Status.WAIT_COMPUTE), ("store", Status.WAIT_STORE))
        if status & bit
    ]
    if waiting and errors & (Errors.DEADLOCK | Errors.NO_FINISH):
        parts.append(f"waiting: {', '.join(waiting)}")
    return "; ".join(parts)
