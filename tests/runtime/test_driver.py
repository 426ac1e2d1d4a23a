"""The register driver against a small model of the registers."""

from __future__ import annotations

import pytest
from vta_arch.config import VTAConfig
from vta_arch.errors import DeviceError
from vta_arch.isa import Memory
from vta_arch.presets import load_preset
from vta_arch.registers import BASE_MEMORIES, COUNTERS, HW_VERSION, IDENT, OFFSETS, Control, Errors, Irq, Status
from vta_runtime.device import RegionAllocator, RunResult, check
from vta_runtime.driver import RegisterDriver

CONFIGS = [load_preset(name) for name in ("tiny", "pynq-z1", "int4", "classic")]
NAMES = {offset: name for name, offset in OFFSETS.items()}
CYCLES = 0x1_2345_6789


class FakeRegisters:
    """Registers of an idle accelerator; a started run ends after ``polls`` reads of STATUS (None: never).

    A reset takes two reads of STATUS, or for ever when the bus is ``stuck``.
    """

    def __init__(self, cfg: VTAConfig, *, polls: int | None = 2, errors: int = 0, stuck: bool = False) -> None:
        fingerprint = cfg.fingerprint()
        self.values = dict.fromkeys(OFFSETS, 0)
        self.values |= {"IDENT": IDENT, "VERSION": HW_VERSION, "CAPABILITY": cfg.capabilities}
        self.values |= {"FINGERPRINT_LO": fingerprint & 0xFFFFFFFF, "FINGERPRINT_HI": fingerprint >> 32}
        self.values |= {"CYCLES_LO": CYCLES & 0xFFFFFFFF, "CYCLES_HI": CYCLES >> 32}
        self.polls, self.errors, self.starts = polls, errors, 0
        self.stuck, self.resets, self.resetting = stuck, 0, 0

    def read32(self, offset: int) -> int:
        name = NAMES[offset]
        if name == "STATUS" and self.values["STATUS"] & Status.RUNNING and self.polls is not None:
            self.polls -= 1
            if self.polls <= 0:
                self.finish()
        elif name == "STATUS" and self.resetting and not self.stuck:
            self.resetting -= 1
            if not self.resetting:
                self.values["STATUS"] = 0
        return self.values[name]

    def write32(self, offset: int, value: int) -> None:
        assert 0 <= value < 1 << 32
        name = NAMES[offset]
        if name == "CONTROL" and value & Control.START:
            self.starts += 1
            self.values["STATUS"] = int(Status.RUNNING)
        elif name == "CONTROL" and value & Control.RESET:
            self.resets, self.resetting = self.resets + 1, 2
            self.values["STATUS"] = int(Status.RESETTING)
        elif name == "IRQ_STATUS":
            self.values[name] &= ~value
        else:
            self.values[name] = value

    def finish(self) -> None:
        self.values |= {"STATUS": int(Status.DONE), "ERRORS": self.errors, "IRQ_STATUS": int(Irq.DONE)}


def pair(registers: FakeRegisters, name: str) -> int:
    return (registers.values[f"{name}_HI"] << 32) | registers.values[f"{name}_LO"]


@pytest.mark.parametrize("cfg", CONFIGS, ids=lambda cfg: cfg.name)
def test_launch_programs_every_register(cfg: VTAConfig) -> None:
    registers = FakeRegisters(cfg, errors=int(Errors.INDEX_RANGE))
    registers.values["ERROR_INSN"] = 12
    bases = {memory: (1 << cfg.axi_addr_width) - 64 * (memory + 1) for memory in BASE_MEMORIES}
    window = (0x12345, (1 << cfg.axi_addr_width) - 1)
    result = RegisterDriver(registers, cfg, watchdog=77).launch(0x1040, 17, bases, window)
    assert result == RunResult(cycles=CYCLES, errors=1, status=int(Status.DONE), error_insn=12)
    assert (pair(registers, "DMA_BASE"), pair(registers, "DMA_LIMIT")) == (0x12000, 1 << cfg.axi_addr_width)
    assert registers.values["WATCHDOG"] == 77
    assert pair(registers, "INSN_ADDRESS") == 0x1040
    assert registers.values["INSN_COUNT"] == 17
    for memory, name in BASE_MEMORIES.items():
        assert pair(registers, name) == bases[memory]
    assert registers.values["IRQ_ENABLE"] == 0
    assert registers.values["IRQ_STATUS"] == 0
    with pytest.raises(DeviceError, match=r"layer 'x': .* reports, first at instruction 12: a scratchpad index"):
        check(result, "layer 'x'")


def test_wait_callback_uses_the_interrupt() -> None:
    registers = FakeRegisters(CONFIGS[0], polls=None)
    driver = RegisterDriver(registers, CONFIGS[0], wait=registers.finish)
    for launches in (1, 2):
        assert driver.launch(0, 1, {}).cycles == CYCLES
        assert registers.starts == launches
    assert registers.values["IRQ_ENABLE"] == Irq.DONE


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("IDENT", 0xFFFFFFFF, "IDENT is 0xffffffff, a VTA has 0x56544121"),
        ("VERSION", 0x00000100, "version 0x00000100, this software 0x00000200"),
        ("CAPABILITY", 0x80, "extensions 0x00000080, configuration 'tiny'"),
        ("FINGERPRINT_HI", 0, f"fingerprint 00000000.*{CONFIGS[0].fingerprint_hex}"),
    ],
)
def test_wrong_accelerator_is_refused_before_it_starts(name: str, value: int, message: str) -> None:
    registers = FakeRegisters(CONFIGS[0])
    registers.values[name] = value
    with pytest.raises(DeviceError, match=message):
        RegisterDriver(registers, CONFIGS[0]).launch(0, 1, {})
    assert registers.starts == 0


@pytest.mark.parametrize(
    ("address", "count", "bases", "message"),
    [
        (0x20, 1, {}, "instruction address 0x20 is not a multiple of 64"),
        (1 << 32, 1, {}, "does not fit into 32 address bits"),
        (0, -1, {}, "-1 instructions"),
        (0, 1, {Memory.WGT: 1}, "base of WGT 0x1 is not a multiple of 64"),
        (0, 1, {Memory.ACC_8BIT: 0}, "ACC_8BIT has no base register"),
    ],
)
def test_bad_launches(address: int, count: int, bases: dict[Memory, int], message: str) -> None:
    registers = FakeRegisters(CONFIGS[0])
    with pytest.raises(DeviceError, match=message):
        RegisterDriver(registers, CONFIGS[0]).launch(address, count, bases)
    assert registers.starts == 0


def test_run_that_does_not_end_is_reset() -> None:
    registers = FakeRegisters(CONFIGS[0], polls=None)
    driver = RegisterDriver(registers, CONFIGS[0], timeout=0.01)
    with pytest.raises(DeviceError, match=r"did not end within 0.01 s \(STATUS 0x00000001\)"):
        driver.launch(0, 1, {})
    assert registers.resets == 1
    registers.polls = 2
    assert driver.launch(0, 1, {}).cycles == CYCLES
    assert registers.resets == 2, "the next launch sees to it that the reset is over"


def test_run_that_another_program_left_behind() -> None:
    registers = FakeRegisters(CONFIGS[0])
    registers.values["STATUS"] = int(Status.RUNNING)
    assert RegisterDriver(registers, CONFIGS[0]).launch(0, 1, {}).cycles == CYCLES
    assert registers.resets == 1


def test_interrupted_wait_resets() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    registers = FakeRegisters(CONFIGS[0], polls=None)
    with pytest.raises(KeyboardInterrupt):
        RegisterDriver(registers, CONFIGS[0], wait=interrupted).launch(0, 1, {})
    assert registers.resets == 1


def test_memory_that_never_answers() -> None:
    registers = FakeRegisters(CONFIGS[0], stuck=True)
    registers.values["STATUS"] = int(Status.RESETTING)
    with pytest.raises(DeviceError, match=r"the memory does not answer .*0x00000008"):
        RegisterDriver(registers, CONFIGS[0]).launch(0, 1, {})
    assert registers.starts == 0


@pytest.mark.parametrize("window", [(0, 0), (5, 4), (-1, 4), (0, (1 << 64) + 1)])
def test_bad_windows(window: tuple[int, int]) -> None:
    registers = FakeRegisters(CONFIGS[0])
    with pytest.raises(DeviceError, match="must be a range of addresses"):
        RegisterDriver(registers, CONFIGS[0]).launch(0, 1, {}, window)
    with pytest.raises(DeviceError, match="watchdog of -1 cycles"):
        RegisterDriver(registers, CONFIGS[0], watchdog=-1).launch(0, 1, {})
    assert registers.starts == 0


def test_counters_are_pairs() -> None:
    registers = FakeRegisters(CONFIGS[0])
    for number, name in enumerate(COUNTERS):
        registers.values |= {f"{name}_LO": number, f"{name}_HI": 1}
    counters = RegisterDriver(registers, CONFIGS[0]).counters()
    assert counters == {name: (1 << 32) + number for number, name in enumerate(COUNTERS)}


def test_wait_that_returns_too_early() -> None:
    registers = FakeRegisters(CONFIGS[0], polls=None)
    with pytest.raises(DeviceError, match="without DONE"):
        RegisterDriver(registers, CONFIGS[0], wait=lambda: None).launch(0, 1, {})


def test_allocator() -> None:
    regions = RegionAllocator(1, 0x5000)
    assert [regions.allocate(size) for size in (0, 1, 4096)] == [0x1000, 0x2000, 0x3000]
    with pytest.raises(DeviceError, match="4097 bytes do not fit into the 4096 that are left"):
        regions.allocate(4097)
    with pytest.raises(DeviceError, match="-1 bytes"):
        regions.allocate(-1)
    assert regions.allocate(4096) == 0x4000
