"""The server as a command: what ``vta-board serve`` and ``vta serve`` have in common."""

from __future__ import annotations

import argparse
import ipaddress
import signal
import sys
from dataclasses import fields
from pathlib import Path
from types import FrameType

from vta_arch.config import VTAConfig

from .jobs import DeviceFactory
from .options import HELP, ServeOptions
from .server import Server
from .tokens import find_token

_TYPES = {"int": (int, "N"), "float": (float, "SECONDS"), "str": (str, "ADDRESS"), "Path | None": (Path, "FILE")}
"""Of an option's type: what makes it of a text, and how help calls it."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give a board's command the options of a server."""
    for item in fields(ServeOptions):
        option, (kind, shown) = "--" + item.name.replace("_", "-"), _TYPES[str(item.type)]
        default = "" if item.default is None else f" (default: {item.default})".replace(".0)", ")")
        parser.add_argument(option, type=kind, metavar=shown, default=item.default, help=HELP[item.name] + default)


def options_of(chosen: argparse.Namespace) -> ServeOptions:
    """The options that :func:`add_options` added."""
    return ServeOptions(**{item.name: getattr(chosen, item.name) for item in fields(ServeOptions)})


def serve(factory: DeviceFactory, config: VTAConfig, options: ServeOptions, backend: str) -> None:
    """Serve a device until SIGTERM or Ctrl-C. Raises DataError or DeviceError when it cannot begin."""
    token = find_token(options.token_file)
    tls = options.tls()
    server = Server(
        factory, config, token, host=options.host, port=options.port, limits=options.limits(), tls=tls,
        backend=backend, log=_log,
    )  # fmt: skip
    signal.signal(signal.SIGTERM, _interrupt)
    with server:
        if token.is_new:
            print(f"token: {token.text}")
        if tls is None and not _is_loopback(options.host):
            _log("tokens and tensors cross the network unencrypted; --tls-cert and --tls-key encrypt them")
        print(f"serving {backend}, {config.name} ({config.fingerprint_hex}), on {server.url}", flush=True)
        try:
            server.serve()
        except KeyboardInterrupt:
            _log("stopping")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise KeyboardInterrupt


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
