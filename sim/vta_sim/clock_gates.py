"""Verilog for the simulator in which units that hold still are clocked only when they do not.

Registers of such units have next values of this form, see ``vta_hw.held``:

    always @* begin
      next = register;
      if (clock_enable) begin ... end
      if (reset) begin next = constant; end
    end
    always @(posedge clk)
      register <= next;

The register changes only where one of the outer conditions holds, so that the clock edge may as well be taken only
then. A simulator then leaves out all that depends on such registers alone. Where no other condition holds,
``clock_enable`` does at such an edge, and where one does it replaces the value: so it need not be asked again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from vta_hw.held import CLOCK_ENABLE

_NAME = r"\\?[^\s;]+"
_REGISTER = re.compile(rf"^  always @\(posedge clk\)\n    (?P<register>{_NAME}) +<= (?P<next>{_NAME}) +;\n", re.M)
_BLOCK = re.compile(r"^  always @\* begin\n(?P<body>(?:    .*\n)+)  end\n", re.M)
_FIRST = re.compile(rf"^    (?P<next>{_NAME}) +=\s+(?P<register>{_NAME}) *;$")
_OUTER_IF = re.compile(r"^    if \((?P<condition>.+)\) begin$")
_DUMMY = re.compile(r"^    if \(.*\) begin end$")


def gated(verilog: str) -> str:
    """The same design, with the edges of registers under ``clock_enable`` narrowed to those that can change them."""
    return "".join(_gated_module(module) for module in _modules(verilog))


def _modules(verilog: str) -> Iterator[str]:
    begin = 0
    for end in re.finditer(r"^endmodule\n", verilog, re.M):
        yield verilog[begin : end.end()]
        begin = end.end()
    yield verilog[begin:]


def _gated_module(text: str) -> str:
    if CLOCK_ENABLE not in text:
        return text
    registers = {match["next"]: match["register"] for match in _REGISTER.finditer(text)}
    conditions: dict[str, list[str]] = {}

    def always_enabled(block: re.Match[str]) -> str:
        found = _hold(block["body"].splitlines(), registers)
        if found is None:
            return block[0]
        next_value, conditions[next_value] = found
        return block[0].replace(f"    if ({CLOCK_ENABLE}) begin\n", "    begin\n", 1)

    def narrowed(match: re.Match[str]) -> str:
        if match["next"] not in conditions:
            return match[0]
        return match[0].replace("(posedge clk)", f"(posedge clk iff ({' || '.join(conditions[match['next']])}))", 1)

    text = _BLOCK.sub(always_enabled, text)
    return _REGISTER.sub(narrowed, text)


def _hold(lines: list[str], registers: dict[str, str]) -> tuple[str, list[str]] | None:
    """Which next value a block computes, and the conditions under which that is not the register's own value.

    None unless the block has the form above.
    """
    lines = [line for line in lines if not _DUMMY.match(line)]
    first = _FIRST.match(lines[0]) if lines else None
    if first is None or registers.get(first["next"]) != first["register"]:
        return None
    outer = [line for line in lines[1:] if not line.startswith("     ") and line != "    end"]
    matches = [_OUTER_IF.match(line) for line in outer]
    found = [match["condition"] for match in matches if match]
    if len(found) != len(outer) or found[:1] != [CLOCK_ENABLE]:
        return None
    return first["next"], found
