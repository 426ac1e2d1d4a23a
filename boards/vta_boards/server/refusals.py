"""Why a request is refused: a status code and one line."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus


class Refused(Exception):
    """The answer to a request that gets nothing but ``{"error": message}``."""

    def __init__(self, status: HTTPStatus, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(" ".join(message.split()))
        self.status = status
        self.headers = dict(headers or {})


class Gone(Exception):
    """The client went away: there is nobody to answer."""


def busy(message: str, seconds: int = 1) -> Refused:
    """503 with the time after which another try makes sense."""
    return Refused(HTTPStatus.SERVICE_UNAVAILABLE, message, {"Retry-After": str(seconds)})
