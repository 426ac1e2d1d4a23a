"""``python3 -m vta_boards``: the same as ``vta-board``."""

import sys

from .on_board import main

sys.exit(main())
