"""Programming a board with a build: over JTAG, over ssh, or on the board itself."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from vta_arch.errors import BoardError
from vta_arch.files import write_bytes, write_text

from .board import Board
from .build_result import BuildResult, read_build
from .device_tree import overlay
from .steps import Report, Step, run_all
from .via import Via

FIRMWARE = "/lib/firmware"
MANAGER = "/sys/class/fpga_manager/fpga0"
OVERLAY = "/sys/kernel/config/device-tree/overlays/vta"
SSH = ("-o", "BatchMode=yes", "-o", "ConnectTimeout=10")
"""Nobody is there to type a password, and a board that is off is not waited for."""
_ABSENT = "absent"
_HOST = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*@)?[A-Za-z0-9][A-Za-z0-9_.:-]*")


def flash(
    board: Board,
    folder: Path,
    via: Via,
    *,
    host: str | None = None,
    with_overlay: bool = True,
    dry_run: bool = False,
    report: Report = print,
) -> BuildResult:
    """Program ``board`` with the build in ``folder``.

    Args:
        board: the board that is meant; a build for another one is refused.
        folder: what ``vta board build`` made.
        via: how.
        host: ``user@board`` for ssh.
        with_overlay: load the device tree overlay too, which makes the UIO device and the buffer.
        dry_run: only report the steps; nothing is written or run.
        report: is told each step before it is carried out.

    Returns the build. Raises BoardError naming the step that failed and its remedy.
    """
    build = read_build(folder, board)
    build.bitstream()
    if (host is None) == (via is Via.SSH):
        raise BoardError(f"--via {via}: {'needs --host user@board' if host is None else 'takes no --host'}")
    shell = _Shell(host)
    if via is Via.JTAG:
        run_all([_jtag(build)], report, dry_run=dry_run)
        return build
    _prepare(build, with_overlay=with_overlay, dry_run=dry_run, report=report)
    place = folder.resolve().as_posix()
    if host is not None:
        place = "/tmp"
        run_all([_copy(build, host, place, with_overlay=with_overlay)], report, dry_run=dry_run)
    _program(build, shell, place, with_overlay=with_overlay, dry_run=dry_run, report=report)
    return build


class _Shell:
    """Steps in the shell of the board, as root: this machine's, or that of ``host``."""

    def __init__(self, host: str | None) -> None:
        if host is not None and not _HOST.fullmatch(host):
            raise BoardError(f"--host {host!r}: must be a name or an address, perhaps with a user: xilinx@pynq")
        self._host = host

    def step(self, name: str, command: str, remedy: str, *, timeout: float = 60.0) -> Step:
        """A step of a line of shell."""
        argv: tuple[str, ...] = ("sh", "-c", command)
        if self._host is not None:
            sudo = () if self._host.startswith("root@") else ("sudo", "-n")
            argv = ("ssh", *SSH, self._host, shlex.join((*sudo, *argv)))
        return Step(name, argv, remedy, timeout)


def _prepare(build: BuildResult, *, with_overlay: bool, dry_run: bool, report: Report) -> None:
    """The ``.bin`` and the compiled overlay beside the bitstream."""
    binary = build.file(".bin")
    if not binary.exists():
        report(f"make the .bin: from {build.file('.bit').name}, for fpga_manager")
    content = build.binary()
    if not binary.exists() and not dry_run:
        write_bytes(binary, content)
    if not with_overlay:
        return
    source, compiled = build.file(".dtso"), build.file(".dtbo")
    report(f"write the overlay: {source.name}")
    if not dry_run:
        write_text(source, overlay(build.board, build.config, binary.name))
    remedy = "install device-tree-compiler, or use --no-overlay and --device devmem"
    compile_it = ("dtc", "-q", "-@", "-I", "dts", "-O", "dtb", "-o", str(compiled), str(source))
    run_all([Step("compile the overlay", compile_it, remedy)], report, dry_run=dry_run)


def _jtag(build: BuildResult) -> Step:
    command = ("openFPGALoader", "-c", build.board.cable, str(build.file(".bit")))
    remedy = "install openFPGALoader, check cable and power, and that no other program holds the cable"
    return Step("load the bitstream", command, remedy, timeout=300)


def _copy(build: BuildResult, host: str, place: str, *, with_overlay: bool) -> Step:
    files = [build.file(".bin"), *([build.file(".dtbo")] if with_overlay else [])]
    target = f"[{host}]" if host.count(":") > 1 else host
    command = ("scp", *SSH, *map(str, files), f"{target}:{place}/")
    remedy = f"check that `ssh {host}` works with a key and without a password"
    return Step("copy the files", command, remedy, timeout=300)


def _program(
    build: BuildResult, shell: _Shell, place: str, *, with_overlay: bool, dry_run: bool, report: Report
) -> None:
    """Program the fabric by fpgautil where the board has it, else by fpga_manager; then what Linux must set."""
    remedy = "let the user use sudo without a password (NOPASSWD in /etc/sudoers.d of the board), or name root@board"
    question = shell.step("look for fpgautil", f"command -v fpgautil || echo {_ABSENT}", remedy)
    by_util, by_manager = _fpgautil(build, shell, place, with_overlay), _manager(build, shell, place, with_overlay)
    report(question.shown)
    if dry_run:
        report("if it is there:")
        run_all(by_util, report, dry_run=True)
        report("else:")
        run_all(by_manager, report, dry_run=True)
        report("then:")
    else:
        found = question.run().splitlines()[-1:] != [_ABSENT]
        run_all(by_util if found else by_manager, report, dry_run=False)
    run_all(_afterwards(build, shell), report, dry_run=dry_run)


def _fpgautil(build: BuildResult, shell: _Shell, place: str, with_overlay: bool) -> list[Step]:
    firmware, tree = f"{place}/{build.stem}.bin", f"{place}/{build.stem}.dtbo"
    options = ["-o", tree] if with_overlay else ["-f", "Full"]
    remedy = "see `dmesg` on the board; an overlay of an earlier design is removed by `fpgautil -R`"
    command = shlex.join(["fpgautil", "-b", firmware, *options])
    return [shell.step("program with fpgautil", command, remedy, timeout=120)]


def _manager(build: BuildResult, shell: _Shell, place: str, with_overlay: bool) -> list[Step]:
    """By the kernel's fpga_manager. The overlay names the bitstream, too: its region programs it once more."""
    name = f"{build.stem}.bin"
    quoted = shlex.quote(f"{place}/{name}")
    steps = [
        shell.step(
            "remove an earlier overlay",
            f"if [ -d {OVERLAY} ]; then rmdir {OVERLAY}; fi",
            "end programs that use it, or restart the board",
        ),
        shell.step(
            "install the bitstream",
            f"mkdir -p {FIRMWARE} && cp {quoted} {FIRMWARE}/{name}",
            f"make room in {FIRMWARE} on the board; root must be able to write there",
        ),
        shell.step(
            "ask for a full bitstream",
            f"echo 0 > {MANAGER}/flags",
            "the board's kernel needs FPGA_MGR; see docs/on-board.md",
        ),
        shell.step(
            "program with fpga_manager",
            f"echo {name} > {MANAGER}/firmware",
            "see `dmesg` on the board; the bitstream must be for its device",
            timeout=120,
        ),
    ]
    if with_overlay:
        tree = shlex.quote(f"{place}/{build.stem}.dtbo")
        steps.append(
            shell.step(
                "load the overlay",
                f"mkdir -p {OVERLAY} && cat {tree} > {OVERLAY}/dtbo && grep -qx applied {OVERLAY}/status",
                "the board's kernel needs OF_CONFIGFS and u-dma-buf; or use --no-overlay and --device devmem",
            )
        )
    return steps


def _afterwards(build: BuildResult, shell: _Shell) -> list[Step]:
    """The state of the fabric, and what no boot image has set up for this design."""
    steps = [
        shell.step(
            "check the state",
            f"if [ -e {MANAGER}/state ]; then grep -qx operating {MANAGER}/state; fi",
            "the fabric did not start; see `dmesg` on the board",
        )
    ]
    if build.board.system.family == "zynq7":
        cfg, crystal = build.config, build.board.crystal_mhz
        options = f"--clock-mhz {cfg.clock_mhz:g} --port-bits {cfg.axi_data_width} --crystal-mhz {crystal:g}"
        steps.append(
            shell.step(
                "set clock and port width",
                f"python3 -m vta_boards.ps7_setup {options}",
                "install the runtime's wheel for the board's root user (make board-wheel; see docs/on-board.md)",
            )
        )
    return steps
