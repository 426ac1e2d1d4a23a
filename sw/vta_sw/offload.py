"""What a user may ask to run on the accelerator (apart, so that the command line loads nothing else)."""

from enum import StrEnum


class Offload(StrEnum):
    """What runs on the accelerator."""

    AUTO = "auto"
    """What is faster there."""
    ALL = "all"
    """Everything that can."""
    NONE = "none"
    """Nothing but what is forced."""
