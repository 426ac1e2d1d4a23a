"""Why a layer cannot run on the accelerator."""

from __future__ import annotations


class NotLowerableError(Exception):
    """A layer that this configuration cannot run; its text is the reason shown to the user."""
