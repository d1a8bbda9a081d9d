"""The run record: what happened in a run, on disk, in a form that can be checked, resumed, drawn and exported.

The core has no I/O (`events`: the hash chain; `rounds`: events to rows); files are the thin edge around it
(`eventlog`, `checkpoints`, `atomic`). `record.RunRecord` is the one object that the rest of the house uses.
Importing this package loads no numpy, psutil, sqlite or matplotlib.
"""

from secure_fl.runs.checkpoints import Checkpoint
from secure_fl.runs.eventlog import EventLog, EventReader
from secure_fl.runs.events import Event
from secure_fl.runs.record import RunRecord
from secure_fl.runs.resources import ResourceSampler
from secure_fl.runs.rows import Exclusion, RoundRow, RunStatus, RunSummary, SiteRow
from secure_fl.runs.verification import Verification

__all__ = [
    "Checkpoint",
    "Event",
    "EventLog",
    "EventReader",
    "Exclusion",
    "ResourceSampler",
    "RoundRow",
    "RunRecord",
    "RunStatus",
    "RunSummary",
    "SiteRow",
    "Verification",
]
