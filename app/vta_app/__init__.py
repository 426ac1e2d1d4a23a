"""What a person runs: the ``vta`` command, and the same functions for Python.

    from vta_app import VTAConfig, compile, generate_verilog, load_config, quantize, run

Names are imported when they are first used, so that a command that needs no compiler does not load one.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vta_arch.config import VTAConfig
    from vta_arch.errors import VTAError
    from vta_arch.presets import load_config
    from vta_arch.program import Program
    from vta_hw.verilog import generate_verilog
    from vta_sw.compiler import compile
    from vta_sw.quantize import quantize

    from .inference import RunReport, run
    from .remote import run_on_server

__version__ = "0.1.0"

__all__ = [
    "Program",
    "RunReport",
    "VTAConfig",
    "VTAError",
    "compile",
    "generate_verilog",
    "load_config",
    "quantize",
    "run",
    "run_on_server",
]

_HOMES = {
    "Program": "vta_arch.program",
    "RunReport": "vta_app.inference",
    "VTAConfig": "vta_arch.config",
    "VTAError": "vta_arch.errors",
    "compile": "vta_sw.compiler",
    "generate_verilog": "vta_hw.verilog",
    "load_config": "vta_arch.presets",
    "quantize": "vta_sw.quantize",
    "run": "vta_app.inference",
    "run_on_server": "vta_app.remote",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
