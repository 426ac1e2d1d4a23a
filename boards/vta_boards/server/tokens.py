"""The token that every request shows."""

from __future__ import annotations

import hmac
import os
import secrets
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from vta_arch.errors import DataError
from vta_runtime.protocol import TOKEN_VARIABLE, read_token

from .refusals import Refused

MIN_CHARACTERS = 16
_SCHEME = "Bearer "


@dataclass(frozen=True)
class Token:
    """A secret, and whether it was made here, so that somebody has to be told."""

    text: str
    is_new: bool = False

    def check(self, header: str | None) -> None:
        """Raise Refused unless an ``Authorization`` header shows the token."""
        if header is None or not header.startswith(_SCHEME):
            challenge = {"WWW-Authenticate": "Bearer"}
            raise Refused(HTTPStatus.UNAUTHORIZED, "a token is needed: Authorization: Bearer TOKEN", challenge)
        shown = header[len(_SCHEME) :].strip().encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(shown, self.text.encode()):
            raise Refused(HTTPStatus.FORBIDDEN, "the token is not the server's")


def find_token(file: Path | None) -> Token:
    """The token in ``file``, or in the environment, or a new one. Raises DataError for one that is too short."""
    if file is not None:
        return Token(_checked(read_token(file), str(file)))
    text = os.environ.get(TOKEN_VARIABLE)
    return Token(secrets.token_urlsafe(24), is_new=True) if text is None else Token(_checked(text, TOKEN_VARIABLE))


def _checked(text: str, source: str) -> str:
    if len(text) < MIN_CHARACTERS or not text.isascii() or not text.isprintable() or " " in text:
        raise DataError(f"{source}: a token is {MIN_CHARACTERS} or more printable ASCII characters without spaces")
    return text
