"""The server as a command: what ``vta-board serve`` and ``vta serve`` have in common."""

from __future__ import annotations

import argparse
import ipaddress
import signal
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from types import FrameType

from vta_arch.config import VTAConfig
from vta_arch.errors import DataError
from vta_runtime.protocol import DEFAULT_PORT

from .jobs import DeviceFactory
from .limits import Limits
from .server import LOOPBACK, Server
from .tokens import find_token

HELP = {
    "host": "address to listen on; 0.0.0.0: all",
    "port": "port to listen on; 0: any that is free",
    "token_file": "file with the token; else VTA_TOKEN, else a new one that is printed",
    "tls_cert": "certificate (PEM) for https",
    "tls_key": "its key (PEM)",
    "max_body": "MiB of a program, of the tensors of a run, and of its outputs",
    "max_store": "MiB of programs and tensors on disk",
    "max_programs": "programs that are kept",
    "max_queue": "runs that may wait",
    "run_limit": "seconds that a run may take",
}
"""What each option means, by its name in both commands."""


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """The options of both commands; sizes in MiB, times in seconds."""

    host: str = LOOPBACK
    port: int = DEFAULT_PORT
    token_file: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    max_body: int = Limits.body >> 20
    max_store: int = Limits.store >> 20
    max_programs: int = Limits.programs
    max_queue: int = Limits.queue
    run_limit: float = Limits.run_seconds

    def limits(self) -> Limits:
        """The limits of a server. Raises DataError."""
        return Limits(
            body=self.max_body << 20,
            store=self.max_store << 20,
            programs=self.max_programs,
            queue=self.max_queue,
            run_seconds=self.run_limit,
        )

    def tls(self) -> tuple[Path, Path] | None:
        """Certificate and key. Raises DataError for one without the other."""
        if self.tls_cert is None or self.tls_key is None:
            if self.tls_cert is not self.tls_key:
                raise DataError("--tls-cert and --tls-key are given together or not at all")
            return None
        return self.tls_cert, self.tls_key


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
