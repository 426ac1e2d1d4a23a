"""The options of the server as a command, without the server: a command line that lists them stays quick."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vta_arch.errors import DataError
from vta_runtime.protocol import DEFAULT_PORT

from .limits import Limits

LOOPBACK = "127.0.0.1"
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
