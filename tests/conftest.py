"""Settings of the whole suite."""

import os

# Many simulators that each run for a second: quick to build counts, not quick to run.
os.environ.setdefault("VTA_RTL_OPTIMIZE", "1")
