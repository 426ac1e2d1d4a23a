"""What a server gives its clients, at most."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields

from vta_arch.errors import DataError


def _most_of_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 3 // 4


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of sizes (bytes), counts and times (seconds). Raises DataError for one that lets nothing through."""

    body: int = 128 << 20
    """A request's body, the tensors in it unpacked, and the outputs of a run."""
    store: int = 512 << 20
    """Programs and tensors on disk, all together."""
    memory: int = field(default_factory=_most_of_memory)
    """What the process that runs programs may allocate; by default three quarters of the machine's memory."""
    programs: int = 16
    """Programs that are kept; the one that was not used for longest goes first."""
    queue: int = 32
    """Runs that wait."""
    connections: int = 64
    """Connections at once."""
    run_seconds: float = 300.0
    """A run, after which it is ended."""
    header_seconds: float = 10.0
    """The head of a request, from the first byte on; a TLS handshake as well."""
    stall_seconds: float = 30.0
    """Added to the time that a body may take at ``body_rate``."""
    body_rate: int = 16 << 10
    """Bytes a second below which a client is too slow."""

    def __post_init__(self) -> None:
        for item in fields(self):
            if not getattr(self, item.name) > 0:
                raise DataError(f"limit {item.name} = {getattr(self, item.name)}: must be more than 0")

    def transfer_seconds(self, size: int) -> float:
        """Seconds that ``size`` bytes may take on their way."""
        return self.stall_seconds + size / self.body_rate
