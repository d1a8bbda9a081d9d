"""Fills the home SFL_HOME with real records: three small runs and a small comparison, all in one process.

Run by the fixture `recorded` in a process of its own, so that the tests' process loads no training code.
"""

from __future__ import annotations

import sys

from secure_fl.cli.main import app

COMMANDS = (
    "run --preset smoke --grid local",
    "run --preset smoke --grid local --sites 5 --rounds 3 --defense multi_krum --byzantine 1 --attack sign_flip"
    " --attackers 1 --alpha 5",
    "run --preset private --grid local --sites 2 --rounds 2",
    "compare --attack sign_flip --defense median --seeds 1 --rounds 2 --workers 1",
)


def record() -> None:
    """Run the commands one after the other; raises SystemExit where one fails."""
    for command in COMMANDS:
        try:
            app(["--quiet", *command.split()])
        except SystemExit as ended:
            if ended.code:
                raise


if __name__ == "__main__":
    sys.exit(record())
