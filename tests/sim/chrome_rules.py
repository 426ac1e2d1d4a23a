"""Checks a trace against the rules of the Trace Event Format."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from itertools import pairwise
from typing import Any

REQUIRED = {"X": {"name", "cat", "ph", "pid", "tid", "ts", "dur", "args"}}
REQUIRED |= {"C": {"name", "ph", "pid", "tid", "ts", "args"}, "M": {"name", "ph", "pid", "tid", "ts", "args"}}
METADATA = {"process_name": str, "process_sort_index": int, "thread_name": str, "thread_sort_index": int}

Event = dict[str, Any]


def nanoseconds(microseconds: float) -> int:
    """A time of a trace, which must be a whole number of nanoseconds."""
    value = round(microseconds * 1000)
    assert math.isclose(value, microseconds * 1000, abs_tol=1e-3)
    return value


def check_trace(text: str) -> dict[str, Any]:
    """The trace; asserts that it is well-formed, its rows have names, and no two spans of a row overlap."""
    trace: dict[str, Any] = json.loads(text, parse_constant=_refuse)
    assert set(trace) == {"traceEvents", "displayTimeUnit", "otherData"}
    assert trace["displayTimeUnit"] in ("ms", "ns")
    rows: dict[tuple[int, int], list[Event]] = defaultdict(list)
    named: set[tuple[str, int, int]] = set()
    for event in trace["traceEvents"]:
        _check_event(event)
        if event["ph"] == "M":
            named.add((event["name"], event["pid"], event["tid"]))
        elif event["ph"] == "X":
            rows[event["pid"], event["tid"]].append(event)
    for pid, tid in rows:
        assert ("thread_name", pid, tid) in named
        assert any(name == "process_name" and number == pid for name, number, _ in named)
    for spans in rows.values():
        for before, after in pairwise(sorted(spans, key=lambda event: float(event["ts"]))):
            assert nanoseconds(before["ts"]) + nanoseconds(before["dur"]) <= nanoseconds(after["ts"]), (before, after)
    return trace


def _refuse(word: str) -> None:
    raise AssertionError(f"{word} is no JSON number")


def _check_event(event: Event) -> None:
    assert set(event) == REQUIRED[event["ph"]]
    assert isinstance(event["name"], str)
    assert event["name"]
    assert all(isinstance(event[key], int) and event[key] > 0 for key in ("pid", "tid"))
    assert isinstance(event["args"], dict)
    assert nanoseconds(event["ts"]) >= 0
    if event["ph"] == "X":
        assert nanoseconds(event["dur"]) > 0
    elif event["ph"] == "C":
        assert all(isinstance(value, int) for value in event["args"].values())
    else:
        kind = METADATA[event["name"]]
        assert [type(value) for value in event["args"].values()] == [kind]


def row_spans(trace: dict[str, Any], process: str, row: str) -> list[Event]:
    """The complete events of a named row, ascending."""
    events = trace["traceEvents"]
    pids = {e["pid"] for e in events if e["name"] == "process_name" and e["args"]["name"] == process}
    tids = {e["tid"] for e in events if e["name"] == "thread_name" and e["args"]["name"] == row and e["pid"] in pids}
    found = [e for e in events if e["ph"] == "X" and e["pid"] in pids and e["tid"] in tids]
    return sorted(found, key=lambda event: float(event["ts"]))
