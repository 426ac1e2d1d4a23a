"""The runtime's tests under the Python of Debian's armhf and arm64, emulated by qemu-user.

Nothing is installed: apt fetches the foreign packages with its state in the folder, dpkg unpacks them there, and no
root is needed. What the machine lacks is said, and the architecture skipped. Programs are compiled here beforehand.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("python3", "python3-numpy", "python3-pytest", "python3-pytest-timeout", "python3-threadpoolctl")
TESTS = (
    "tests/runtime/test_driver.py",
    "tests/boards/test_bitstream.py",
    "tests/boards/test_board_device.py",
    "tests/boards/test_on_board.py",
    "tests/boards/test_opening.py",
    "tests/boards/test_ps7_setup.py",
)
_QUIET = ("-W", "ignore::pytest.PytestUnraisableExceptionWarning")
"""Of threadpoolctl, whose look at /lib sees this machine's and the emulated one's by turns."""
FETCH_SECONDS, TEST_SECONDS = 600, 1800


@dataclass(frozen=True)
class Architecture:
    """An architecture by Debian's name, its emulators, and its folder of libraries."""

    debian: str
    emulators: tuple[str, ...]
    triplet: str


ARCHITECTURES = {
    "armhf": Architecture("armhf", ("qemu-arm-static", "qemu-arm"), "arm-linux-gnueabihf"),
    "arm64": Architecture("arm64", ("qemu-aarch64-static", "qemu-aarch64"), "aarch64-linux-gnu"),
}


class Missing(Exception):
    """What this machine lacks, and where to get it."""


def run(command: list[str], seconds: float, environment: dict[str, str] | None = None) -> None:
    """Run a command quietly. Raises Missing with its last line when it fails or takes too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=environment)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{command[0]}: {error}") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise Missing(f"{command[0]} failed: {lines[-1] if lines else f'exit status {done.returncode}'}")


def tool(names: tuple[str, ...], package: str) -> str:
    """The first of these programs that is there. Raises Missing naming the Debian package."""
    for name in names:
        found = shutil.which(name)
        if found:
            return found
    raise Missing(f"{names[0]} is missing; install it with: sudo apt-get install {package}")


def fetch(arch: Architecture, folder: Path) -> Path:
    """The foreign Python and its libraries, unpacked; kept for the next time. Raises Missing."""
    system, state = folder / "system", folder / "apt"
    ready = folder / "ready"
    if ready.exists():
        return system
    for name in ("lists/partial", "cache/archives/partial"):
        (state / name).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    options = {
        "Dir::State": state,
        "Dir::State::lists": state / "lists",
        "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache",
        "APT::Architecture": arch.debian,
        "APT::Architectures": arch.debian,
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
    }
    apt = [tool(("apt-get",), "apt"), "-qq", *(f"-o{name}={value}" for name, value in options.items())]
    with contextlib.suppress(Missing):  # of a source that has no such architecture; the next command tells
        run([*apt, "update"], FETCH_SECONDS)
    run([*apt, "install", "--download-only", "--no-install-recommends", "-y", *PACKAGES], FETCH_SECONDS)
    unpack = tool(("dpkg-deb",), "dpkg")
    for package in sorted((state / "cache" / "archives").glob("*.deb")):
        run([unpack, "-x", str(package), str(system)], FETCH_SECONDS)
    if not (system / "lib").exists():  # where libraries are in /usr only, the link to them is made by an installer
        (system / "lib").symlink_to("usr/lib")
    ready.touch()
    return system


def python_of(arch: Architecture, folder: Path) -> list[str]:
    """A command that starts the foreign Python. Raises Missing."""
    emulator = tool(arch.emulators, "qemu-user-static")
    system = fetch(arch, folder)
    libraries = system / "usr" / "lib" / arch.triplet
    search = os.pathsep.join(str(libraries / name) for name in ("blas", "lapack"))
    python = system / "usr" / "bin" / "python3"
    return [emulator, "-L", str(system), "-E", f"LD_LIBRARY_PATH={search}", str(python.resolve())]


def test(arch: Architecture, folder: Path, programs: Path) -> int:
    """Run the tests; pytest's exit status. Raises Missing."""
    python = python_of(arch, folder)
    paths = os.pathsep.join(str(ROOT / name) for name in ("arch", "sw", "sim", "boards"))
    environment = {
        **os.environ,
        "PYTHONPATH": paths,
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "VTA_TEST_PROGRAMS": str(programs),
    }
    environment.pop("VIRTUAL_ENV", None)
    about = "import platform, sys, numpy; print(platform.machine(), sys.version.split()[0], 'numpy', numpy.__version__)"
    subprocess.run([*python, "-c", about], env=environment, timeout=FETCH_SECONDS, check=True)
    pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout", "600", *_QUIET, *TESTS]
    return subprocess.run([*python, *pytest], env=environment, cwd=ROOT, timeout=TEST_SECONDS).returncode


def main() -> int:
    """Test each architecture that is asked for; 1 when a test failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("architectures", nargs="*", metavar="ARCH", help=f"any of {', '.join(ARCHITECTURES)}")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "arm", help="what is fetched and made")
    chosen = parser.parse_args()
    unknown = set(chosen.architectures) - set(ARCHITECTURES)
    if unknown:
        parser.error(f"architecture {min(unknown)!r} is unknown; known: {', '.join(ARCHITECTURES)}")
    folder = chosen.folder.resolve()
    programs = folder / "programs"
    programs.mkdir(parents=True, exist_ok=True)
    paths = os.pathsep.join(str(ROOT / name) for name in ("arch", "hw", "sw", "sim", "boards", "app"))
    make = [sys.executable, str(ROOT / "tests" / "boards" / "board_programs.py"), str(programs)]
    subprocess.run(make, env={**os.environ, "PYTHONPATH": paths}, timeout=FETCH_SECONDS, check=True)
    failed = 0
    for name in chosen.architectures or ARCHITECTURES:
        try:
            failed |= test(ARCHITECTURES[name], folder / name, programs) != 0
        except Missing as missing:
            print(f"test-arm: {name} skipped: {missing}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
