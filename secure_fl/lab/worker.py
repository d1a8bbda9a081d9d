"""A process that simulates one cell after the other on one thread: `python -m secure_fl.lab.worker`.

It reads one JSON object a line from stdin, `{"scenario": …, "cells": folder}`, keeps the result itself
(whole or not at all), and tells on stdout what happens: `ready`, `round`, `done`. So a result is on the disk before
anybody hears of it, and killing whoever started the comparison loses nothing that was finished. When stdin ends, that
somebody is gone, and the worker ends at once; an interrupt from the keyboard is not meant for it.

Its environment is set by whoever starts it (`secure_fl.lab.sweep`), before numpy and torch count processors.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from secure_fl.federation.processes import claim_stdout
from secure_fl.lab.cells import CellStore, Failure, made

__all__ = ["main", "run_cell"]

Tell = Callable[[dict[str, Any]], None]


def main() -> None:
    """Serve jobs until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tell = claim_stdout()
    jobs = _jobs(sys.stdin)
    import torch

    from secure_fl.lab import engine  # noqa: F401 - loaded now, so that `ready` means ready

    torch.set_num_threads(1)
    tell({"event": "ready"})
    for job in jobs:
        run_cell(job, tell)


def run_cell(job: Mapping[str, Any], tell: Tell) -> None:
    """Simulate one cell and keep its outcome, or why there is none; errors do not leave this function."""
    from secure_fl.errors import SecureFLError
    from secure_fl.lab.engine import simulate
    from secure_fl.lab.scenario import Scenario

    began = time.monotonic()
    scenario = Scenario.from_mapping(job["scenario"])
    digest, store = scenario.digest(), CellStore(Path(job["cells"]))

    def told(failure: Failure | None) -> None:
        words = {} if failure is None else {"failure": failure.what}
        tell({"event": "done", "digest": digest, "seconds": time.monotonic() - began, **words})

    try:
        outcome = simulate(
            scenario,
            on_round=lambda each: tell(
                {"event": "round", "digest": digest, "round": each.round, "accuracy": each.accuracy}
            ),
        )
    except SecureFLError as error:
        failure = Failure(error.what, error.why)
    except Exception as error:  # whatever it is, it is this cell's result, and the others go on
        failure = Failure(f"{type(error).__name__}: {error}", traceback=traceback.format_exc())
    else:
        store.write_outcome(outcome, made())
        return told(None)
    store.write_failure(scenario, failure, made())
    return told(failure)


def _jobs(stream: TextIO) -> Iterator[Mapping[str, Any]]:
    """Jobs as they arrive. A thread waits for them, so that the end of stdin ends a cell that is under way."""
    waiting: queue.SimpleQueue[Mapping[str, Any]] = queue.SimpleQueue()

    def listen() -> None:
        for line in stream:
            waiting.put(json.loads(line))
        os._exit(0)  # a file that is being written is partial and hidden, and the next writer sweeps it away

    threading.Thread(target=listen, name="jobs", daemon=True).start()
    return iter(waiting.get, None)


if __name__ == "__main__":
    main()
