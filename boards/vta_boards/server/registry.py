"""The devices that ``--device NAME`` can mean on a board."""

from __future__ import annotations

from vta_arch.errors import DeviceError

from .jobs import DeviceFactory

_FACTORIES: dict[str, DeviceFactory] = {}


def register(name: str, factory: DeviceFactory) -> None:
    """Make a device known. ``factory`` is a module's function, since another process calls it."""
    _FACTORIES[name] = factory


def names() -> list[str]:
    """Names of all devices."""
    return sorted(_FACTORIES)


def find(name: str) -> DeviceFactory:
    """What opens a device. Raises DeviceError that lists the devices when there is none of that name."""
    if name not in _FACTORIES:
        raise DeviceError(f"device {name!r} is unknown; known are {', '.join(names()) or 'none'}")
    return _FACTORIES[name]
