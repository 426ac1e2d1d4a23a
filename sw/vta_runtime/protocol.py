"""What client and server of docs/serve.md agree on."""

from __future__ import annotations

import re
from pathlib import Path

from vta_arch.errors import DataError

PROTOCOL_VERSION = 1
DEFAULT_PORT = 8470
STATUS_PATH = f"/v{PROTOCOL_VERSION}/status"
PROGRAMS_PATH = f"/v{PROTOCOL_VERSION}/programs"
REQUEST_HEADER = "X-Request-Id"
"""The client's name for a run; the answer repeats it."""
REQUEST_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
REPORT_MEMBER = "report.json"
"""Member of a run's answer, a zip of npy files, that says what the run did."""

TOKEN_VARIABLE = "VTA_TOKEN"
_TOKEN_BYTES = 4096


def read_token(file: Path) -> str:
    """The token in a file, without the white space around it. Raises DataError."""
    try:
        with file.open("rb") as opened:
            text = opened.read(_TOKEN_BYTES).decode("ascii").strip()
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise DataError(f"{file}: is no token: it holds other than ASCII characters") from None
    if not text:
        raise DataError(f"{file}: is empty; it should hold the token")
    return text
