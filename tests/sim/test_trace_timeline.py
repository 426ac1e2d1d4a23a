"""The file of a timeline: the format's rules, and its sums against the registers of the same runs."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from chrome_rules import check_trace, nanoseconds, row_spans
from trace_streams import CONFIGS, config, recorded
from vta_arch.disasm import disassemble
from vta_arch.isa import INSN_BYTES
from vta_sim.trace_timeline import WINDOW, LayerPart, TimelineWriter

CLOCKS = (100.0, 142.0, 333.3)
ENGINES = {"load": ("LOAD INP", "LOAD WGT"), "compute": ("GEMM", "ALU", "LOAD UOP", "LOAD ACC"), "store": ("STORE",)}


def halves(stream: bytes) -> list[LayerPart]:
    """Every stream as two layers."""
    count = len(stream) // INSN_BYTES
    return [LayerPart("first", 0, count // 2, macs=5), LayerPart("second", count // 2, count - count // 2)]


def written(name: str, clock_mhz: float = 100.0) -> tuple[dict[str, Any], TimelineWriter]:
    """The trace of all recorded streams, one after the other."""
    file = io.StringIO()
    writer = TimelineWriter(file, replace(config(name), clock_mhz=clock_mhz), halves)
    for run in recorded(name):
        writer.add(run.launch)
    writer.close()
    return check_trace(file.getvalue()), writer


@pytest.mark.parametrize(("name", "clock_mhz"), list(zip(CONFIGS, CLOCKS, strict=True)))
def test_times_are_those_of_the_clock(name: str, clock_mhz: float) -> None:
    trace, writer = written(name, clock_mhz)
    assert trace["otherData"] == {
        "configuration": config(name).name,
        "clock_mhz": clock_mhz,
        "cycles": sum(run.launch.result.cycles or 0 for run in recorded(name)),
    }
    assert writer.summary.cycles == trace["otherData"]["cycles"]
    for event in trace["traceEvents"]:
        if event["ph"] == "X":
            cycle, cycles = event["args"]["cycle"], event["args"]["cycles"]
            assert nanoseconds(event["ts"]) == round(cycle * 1000 / clock_mhz)
            assert nanoseconds(event["ts"]) + nanoseconds(event["dur"]) == round((cycle + cycles) * 1000 / clock_mhz)


@pytest.mark.parametrize("name", CONFIGS)
def test_gemm_spans_are_the_array_busy_counter(name: str) -> None:
    """An instruction lasts as long as its steps and what they waited for."""
    trace, _ = written(name)
    spans, waits = row_spans(trace, "compute", "GEMM"), row_spans(trace, "compute", "GEMM waits")
    busy = sum(run.counters["ARRAY_BUSY"] for run in recorded(name))
    assert sum(span["args"]["busy"] for span in spans) == busy
    inside = 0
    for span in spans:
        begin, end = span["args"]["cycle"], span["args"]["cycle"] + span["args"]["cycles"]
        for wait in waits:
            first = wait["args"]["cycle"]
            inside += max(0, min(end, first + wait["args"]["cycles"]) - max(begin, first))
    assert sum(span["args"]["cycles"] for span in spans) == busy + inside


@pytest.mark.parametrize("name", CONFIGS)
def test_counters_add_up(name: str) -> None:
    trace, _ = written(name)
    bus_bytes = config(name).axi_data_width // 8
    totals = {"AXI read beats": 0, "AXI write beats": 0, "array busy cycles": 0}
    for title in totals:
        events = [e for e in trace["traceEvents"] if e["ph"] == "C" and e["name"] == f"{title} in {WINDOW} cycles"]
        steps = {nanoseconds(event["ts"]) // 10: event["args"]["value"] for event in events}
        begin = 0
        for run in recorded(name):
            cycles, value = run.launch.samples.cycles, 0
            for window in range(0, cycles, WINDOW):
                value = steps.get(begin + window, value)
                totals[title] += value
            begin += cycles
    registers = [run.counters for run in recorded(name)]
    read = sum(value for counters in registers for key, value in counters.items() if key.startswith("READ_"))
    assert totals["AXI read beats"] * bus_bytes == read
    assert totals["AXI write beats"] * bus_bytes == sum(counters["WRITE_OUT"] for counters in registers)
    assert totals["array busy cycles"] == sum(counters["ARRAY_BUSY"] for counters in registers)


@pytest.mark.parametrize("name", CONFIGS)
def test_layers_and_launches_fill_the_time(name: str) -> None:
    trace, writer = written(name)
    for row in ("launches", "layers"):
        spans = row_spans(trace, "run", row)
        assert sum(span["args"]["cycles"] for span in spans) == writer.summary.cycles
    totals = writer.summary.layers
    assert list(totals) == ["first", "second"]
    assert sum(total.cycles for total in totals.values()) == writer.summary.cycles
    busy = sum(run.counters["ARRAY_BUSY"] for run in recorded(name))
    assert sum(total.array_busy for total in totals.values()) == busy
    assert totals["first"].macs == 5 * len(recorded(name))


ALSO = {"GEMM": ("DEPTHWISE",), "LOAD ACC": ("LOAD REQ",)}
"""What an engine executes besides the instructions that it is named after."""


@pytest.mark.parametrize("name", CONFIGS)
def test_names_are_the_listing(name: str) -> None:
    """Every engine has its rows; each span is called what the disassembler says."""
    trace, _ = written(name)
    run = recorded(name)[0]
    texts = disassemble(config(name), run.launch.instructions)
    own = run.launch.samples.cycles
    seen = set()
    for unit, engines in ENGINES.items():
        for engine in engines:
            for span in row_spans(trace, unit, engine):
                if span["args"]["cycle"] < own:
                    index = int(span["name"].partition(":")[0])
                    assert span["name"] == f"{index}: {texts[index]}"
                    assert span["args"]["layer"] == ("first" if index < len(texts) // 2 else "second")
                    assert texts[index].startswith((engine, *ALSO.get(engine, ())))
                    seen.add(engine)
    assert {"GEMM", "LOAD INP", "LOAD WGT", "LOAD UOP", "STORE"} <= seen


@pytest.mark.parametrize("name", CONFIGS)
def test_the_summary_has_every_engine(name: str) -> None:
    _, writer = written(name)
    summary = writer.summary
    rows = [f"{unit} {engine}" for unit, engines in ENGINES.items() for engine in engines]
    assert [row for row, *_ in summary.engine_rows()] == ["fetch instructions", *rows]
    values = summary.to_dict()
    assert (values["launches"], values["cycles"]) == (len(recorded(name)), summary.cycles)
    gemm = values["engines"]["compute GEMM"]
    assert gemm["busy"] == sum(run.counters["ARRAY_BUSY"] for run in recorded(name))
    assert gemm["busy"] + sum(gemm["waits"].values()) <= summary.cycles
    assert [name for name, *_ in summary.layer_rows()] == ["first", "second"]
