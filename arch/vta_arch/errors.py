"""The one exception family that a user's mistake ends in: one line, shown without a traceback."""


class VTAError(Exception):
    """A mistake that the user can mend. Its message is one line: thing, value, limit, way out."""


class ConfigError(VTAError):
    """A configuration that cannot be read, encoded or built."""


class IsaError(VTAError):
    """An instruction, micro-op or stream that cannot be encoded or decoded."""


class ProgramError(VTAError):
    """A program file that is damaged, foreign, or made for another configuration."""


class ModelError(VTAError):
    """A network that cannot be read, quantized or compiled."""


class DeviceError(VTAError):
    """A device that reported an error, did not answer, or is not the one that was expected."""


class DataError(VTAError):
    """An input array, label file or output path that cannot be used."""


class BoardError(VTAError):
    """A board that is unknown, or a tool, file or step of its build or programming that failed."""
