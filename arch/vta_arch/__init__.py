"""The contract that hardware, compiler, simulators and drivers share."""

from .config import VTAConfig
from .errors import VTAError
from .presets import DEFAULT_PRESET, load_config, load_preset, preset_names

__all__ = ["DEFAULT_PRESET", "VTAConfig", "VTAError", "load_config", "load_preset", "preset_names"]
