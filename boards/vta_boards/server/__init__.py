"""A device behind HTTP: programs and tensors come in, results go out; the protocol is in docs/serve.md.

Runs on a board with the standard library and numpy alone:

    python -m vta_boards.server --config pynq-z1 --device NAME
"""

from .jobs import DeviceFactory
from .limits import Limits
from .server import Server

__all__ = ["DeviceFactory", "Limits", "Server"]
