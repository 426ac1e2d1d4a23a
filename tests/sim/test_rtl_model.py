"""The memory model, its protocol checker and the harness, with a small top that copies a burst, well or badly."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from amaranth.back import verilog
from amaranth.hdl import Cat, ClockDomain, ClockSignal, Module, Mux, ResetSignal, Signal
from amaranth.lib.memory import Memory as Ram
from amaranth.lib.wiring import Component, In, Out
from vta_arch.config import VTAConfig
from vta_arch.errors import DeviceError
from vta_arch.isa import Memory
from vta_arch.registers import CONTROL_ADDRESS_BITS, OFFSETS, Errors, Status
from vta_hw.axi_lite import AxiLiteSignature
from vta_hw.csr import ControlRegisters
from vta_sim import rtl_build
from vta_sim.rtl import MemoryModel, ProtocolViolation, RtlDevice

FAULTS = ["", "w_changes", "crosses", "wlast", "ar_falls", "long", "no_response", "strobe", "hangs", "fixed", "path"]
CONFIGS = {width: VTAConfig(name=f"bus{width}", axi_data_width=width) for width in (32, 64, 512)}


class CopyTop(Component):
    """Copies one burst of ``insn_count`` beats from base_inp to base_out.

    Errors are reported as the accelerator's. Bits 11:6 of base_uop choose an entry of FAULTS to commit.
    """

    def __init__(self, cfg: VTAConfig) -> None:
        self._cfg = cfg
        lite = AxiLiteSignature(CONTROL_ADDRESS_BITS).flip()
        members = {f"s_axi_control_{name}": member for name, member in lite.members.items()}
        address = {"id": 1, "addr": cfg.axi_addr_width, "len": 8, "size": 3, "burst": 2, "valid": 1}
        data, lanes = cfg.axi_data_width, cfg.axi_data_width // 8
        outs = {f"{channel}{name}": width for channel in ("aw", "ar") for name, width in address.items()}
        outs |= {"wdata": data, "wstrb": lanes, "wlast": 1, "wvalid": 1, "bready": 1, "rready": 1}
        ins = {"awready": 1, "wready": 1, "arready": 1, "bid": 1, "bresp": 2, "bvalid": 1}
        ins |= {"rid": 1, "rdata": data, "rresp": 2, "rlast": 1, "rvalid": 1}
        members |= {f"m_axi_gmem_{name}": Out(width) for name, width in outs.items()}
        members |= {f"m_axi_gmem_{name}": In(width) for name, width in ins.items()}
        super().__init__({"aclk": In(1), "aresetn": In(1), "interrupt": Out(1), **members})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.domains.sync = ClockDomain("sync")
        m.d.comb += [ClockSignal().eq(self.aclk), ResetSignal().eq(~self.aresetn)]
        m.submodules.csr = csr = ControlRegisters(self._cfg)
        for name, member in csr.bus.signature.members.items():
            port, inner = getattr(self, f"s_axi_control_{name}"), getattr(csr.bus, name)
            m.d.comb += inner.eq(port) if member.flow is In else port.eq(inner)
        m.d.comb += self.interrupt.eq(csr.interrupt)
        self._copy(m, csr)
        return m

    def _copy(self, m: Module, csr: ControlRegisters) -> None:
        bus = {
            name.removeprefix("m_axi_gmem_"): getattr(self, name) for name in self.signature.members if "gmem" in name
        }
        fault = {name: Signal(name=f"fault_{index}") for index, name in enumerate(FAULTS)}
        for index, signal in enumerate(fault.values()):
            m.d.comb += signal.eq(csr.base_uop[6:12] == index)
        length, lanes = Signal(8), self._cfg.axi_data_width // 8
        m.submodules.ram = ram = Ram(shape=self._cfg.axi_data_width, depth=256, init=[])
        store, fetch = ram.write_port(), ram.read_port(domain="comb")
        beat, blink, waited = Signal(8), Signal(), Signal()
        m.d.sync += blink.eq(~blink)
        first, aligned = Signal(6), csr.base_out[:6] & (lanes - 1)
        m.d.comb += [
            length.eq(Mux(fault["long"], 31, csr.insn_count - 1)),
            first.eq(Mux((beat == 0) & ~fault["strobe"], aligned, 0)),
            csr.waiting.eq(0),
            store.addr.eq(beat),
            store.data.eq(bus["rdata"]),
            fetch.addr.eq(beat),
            *(bus[f"{c}len"].eq(length) for c in ("ar", "aw")),
            *(bus[f"{c}size"].eq((lanes - 1).bit_length()) for c in ("ar", "aw")),
            *(bus[f"{c}burst"].eq(~fault["fixed"]) for c in ("ar", "aw")),
            bus["araddr"].eq(csr.base_inp + Mux(fault["crosses"], 4096 - lanes, csr.base_acc[6:12])),
            bus["awid"].eq(bus["arready"] & ~bus["awvalid"] & fault["path"]),
            bus["awaddr"].eq(csr.base_out + csr.base_acc[6:12]),
            bus["wdata"].eq(fetch.data ^ (blink & fault["w_changes"])),
            bus["wlast"].eq((beat == length) ^ fault["wlast"]),
        ]
        start_lane = Signal(6)
        m.d.comb += start_lane.eq(Mux((beat == 0) & ~fault["strobe"], csr.base_acc[6:12] & (lanes - 1), 0))
        m.d.comb += bus["wstrb"].eq(Cat(lane >= start_lane for lane in range(lanes)))
        with m.FSM():
            with m.State("IDLE"), m.If(csr.start):
                m.d.sync += [beat.eq(0), waited.eq(0), csr.errors.eq(0)]
                m.next = "AR"
            with m.State("AR"):
                m.d.comb += bus["arvalid"].eq(~(fault["ar_falls"] & waited))
                m.d.sync += waited.eq(~waited)
                with m.If(bus["arvalid"] & bus["arready"]):
                    m.next = "HANG"
            with m.State("HANG"), m.If(~fault["hangs"]):
                m.next = "R"
            with m.State("R"):
                m.d.comb += [bus["rready"].eq(1), store.en.eq(bus["rvalid"])]
                with m.If(bus["rvalid"]):
                    m.d.sync += beat.eq(beat + 1)
                    with m.If(bus["rresp"].any()):
                        m.d.sync += csr.errors.eq(csr.errors | int(Errors.AXI_READ))
                    with m.If(bus["rlast"]):
                        m.d.sync += beat.eq(0)
                        m.next = "AW"
            with m.State("AW"):
                m.d.comb += bus["awvalid"].eq(1)
                with m.If(bus["awready"]):
                    m.next = "W"
            with m.State("W"):
                m.d.comb += bus["wvalid"].eq(1)
                with m.If(bus["wready"]):
                    m.d.sync += beat.eq(beat + 1)
                    with m.If(beat == length):
                        m.next = "B"
            with m.State("B"):
                m.d.comb += [bus["bready"].eq(1), csr.done.eq(bus["bvalid"] | fault["no_response"])]
                with m.If(bus["bvalid"] & bus["bresp"].any()):
                    m.d.sync += csr.errors.eq(csr.errors | int(Errors.AXI_WRITE))
                with m.If(csr.done):
                    m.next = "IDLE"


def _verilog(width: int) -> str:
    text: str = verilog.convert(CopyTop(CONFIGS[width]), name="vta_top", emit_src=False, strip_internal_attrs=True)
    return text


TEXTS: dict[int, str] = {}


def device(width: int = 64, memory: MemoryModel | None = None, **options: int) -> RtlDevice:
    if width not in TEXTS:
        TEXTS[width] = _verilog(width)
    return RtlDevice(CONFIGS[width], memory, verilog=TEXTS[width], **options)


def copy(dut: RtlDevice, beats: int, fault: str = "", offset: int = 0, source: int = 0x10000, target: int = 0x20000):
    bases = {Memory.INP: source, Memory.OUT: target, Memory.UOP: FAULTS.index(fault) << 6, Memory.ACC: offset << 6}
    return dut.launch(0, beats, bases)


@pytest.mark.parametrize("width", CONFIGS)
@pytest.mark.parametrize("backpressure", [0.0, 0.4])
def test_copy(width: int, backpressure: float) -> None:
    """Bursts of several lengths and start offsets arrive whole; bytes around them stay."""
    rng = np.random.default_rng(width)
    lanes = width // 8
    with device(width, MemoryModel(backpressure=backpressure, seed=width)) as dut:
        for beats, offset in ((1, 0), (3, 1), (16, 0), (16, lanes - 1)):
            data = rng.integers(0, 256, 16 * lanes, dtype=np.uint8)
            before = rng.integers(0, 256, 18 * lanes, dtype=np.uint8)
            dut.write(0x10000, data)
            dut.write(0x20000 - lanes, before)
            result = copy(dut, beats, offset=offset)
            expected = before.copy()
            expected[lanes + offset : lanes + beats * lanes] = data[offset : beats * lanes]
            np.testing.assert_array_equal(dut.read(0x20000 - lanes, expected.size), expected)
            assert result.errors == 0
            assert result.cycles is not None
            assert result.cycles > 80 + 2 * beats


def test_timing_is_that_of_the_model() -> None:
    """Latency and bandwidth show in the cycle counter exactly."""

    def cycles(beats: int, **values: int) -> int:
        with device(64, MemoryModel(**values)) as dut:
            found = copy(dut, beats).cycles
            assert found is not None
            return found

    base = cycles(1, latency=10)
    assert cycles(1, latency=40) == base + 2 * 30
    assert cycles(16, latency=10) == base + 2 * 15
    assert cycles(16, latency=10, beat_interval=4) == base + 2 * 15 * 4
    assert cycles(16, latency=10) == cycles(16, latency=10)
    stalled = {cycles(16, latency=10, backpressure=0.5, seed=seed) for seed in range(4)}
    assert min(stalled) > base + 30
    assert len(stalled) > 1


def test_statistics_and_sparse_memory() -> None:
    with device() as dut:
        assert dut.read(0xFFFFFF00, 256).max() == 0
        block = np.arange(200_000, dtype=np.uint32).view(np.uint8)
        dut.write(0xFFFF, block)
        np.testing.assert_array_equal(dut.read(0xFFFF, block.size), block)
        copy(dut, 7)
        stats = dut.statistics
        assert (stats.read_bursts, stats.read_beats, stats.write_bursts, stats.write_beats) == (1, 7, 1, 7)
        assert (stats.reads_open, stats.writes_open) == (0, 0)
        assert dut.cycles > 100
        assert [dut.allocate(1), dut.allocate(4097), dut.allocate(1)] == [0x1000, 0x2000, 0x4000]


def test_error_responses() -> None:
    with device(memory=MemoryModel(error_range=(0x10000, 0x10001))) as dut:
        assert copy(dut, 2).errors == Errors.AXI_READ
        assert copy(dut, 2, source=0x10040).errors == 0
        assert copy(dut, 2, source=0x10040, target=0xFFF8 & ~63).errors == 0
    with device(memory=MemoryModel(error_range=(0x20000, 0x20040))) as dut:
        dut.write(0x10000, bytes(range(1, 65)))
        assert copy(dut, 8).errors == Errors.AXI_WRITE
        assert dut.read(0x20000, 64).max() == 0


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("w_changes", "W changed while WVALID waited for WREADY"),
        ("crosses", "read burst at 0x10ff8 of 4 beats crosses a 4 KiB boundary"),
        ("wlast", "WLAST is 1 at beat 0"),
        ("ar_falls", "ARVALID fell before ARREADY"),
        ("long", "read burst of 32 beats, the limit is 16"),
        ("no_response", "the run ended with 1 writes unanswered"),
        ("strobe", "WSTRB 0xff outside the lanes 0xf8 of its beat"),
        ("fixed", "ARBURST is 0, not INCR"),
        ("path", "an output depends on an input of the same cycle"),
    ],
)
def test_violations_are_found(fault: str, message: str) -> None:
    offset = 3 if fault == "strobe" else 0
    with device(memory=MemoryModel(backpressure=0.8, seed=3)) as dut:

        def copies() -> None:
            for _ in range(20):
                copy(dut, 4, fault, offset)

        with pytest.raises(ProtocolViolation, match=message) as error:
            copies()
        assert str(error.value).startswith("cycle ")


def test_run_that_does_not_end_names_max_cycles() -> None:
    seen: list[int] = []
    with device(max_cycles=120_000) as dut:
        dut._on_cycles = seen.append
        with pytest.raises(DeviceError, match="max_cycles = 120000"):
            copy(dut, 1, "hangs")
        assert not dut.read32(OFFSETS["STATUS"]) & Status.RUNNING, "the driver has ended the run"
    assert seen == [50_000, 100_000, 120_000]


def test_another_configuration_is_refused() -> None:
    other = VTAConfig(name="other", inp_signed=False)
    device().close()
    with (
        RtlDevice(other, verilog=TEXTS[64]) as dut,
        pytest.raises(DeviceError, match=f"{CONFIGS[64].fingerprint_hex}.*{other.fingerprint_hex}"),
    ):
        copy(dut, 1)


def test_misuse() -> None:
    dut = device()
    with pytest.raises(DeviceError, match="outside"):
        dut.write(0xFFFFFFFF, b"ab")
    with pytest.raises(DeviceError, match="type int32"):
        dut.write(0, np.zeros(4, dtype=np.int32))  # type: ignore[arg-type]
    dut.close()
    dut.close()
    with pytest.raises(DeviceError, match="closed"):
        dut.read(0, 1)
    for values in ({"latency": 0}, {"max_reads": 65}, {"backpressure": 1.0}, {"error_range": (4, 4)}):
        with pytest.raises(DeviceError, match="memory model"):
            MemoryModel(**values)  # type: ignore[arg-type]


def test_build_errors_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VTA_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(DeviceError, match=r"Verilator: .*ended with status 1") as error:
        rtl_build.build(CONFIGS[64], verilog="module vta_top(; endmodule")
    assert "\n" not in str(error.value)
    left = [path.name for path in (tmp_path / "cache").iterdir() if path.is_dir()]
    assert not [name for name in left if not name.startswith("runtime-")], "nothing half-built stays"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VTA_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with pytest.raises(DeviceError, match="set VTA_CACHE_DIR"):
        rtl_build.build(CONFIGS[64], verilog=_verilog(64))
    monkeypatch.setenv("CXX", "/nowhere/c++")
    with pytest.raises(DeviceError, match="/nowhere/c\\+\\+ cannot be run"):
        rtl_build.build(CONFIGS[64], verilog=_verilog(64))


def test_concurrent_builders_share_one_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VTA_CACHE_DIR", str(tmp_path))
    stages: list[str] = []
    found: list[Path] = []
    text = _verilog(32)

    def work() -> None:
        found.append(rtl_build.build(CONFIGS[32], lambda stage, _done, _total: stages.append(stage), verilog=text))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == found[1]
    assert stages.count("Verilator") == 2, "one build: its begin and its end"
    assert not list(tmp_path.glob("building-*"))
