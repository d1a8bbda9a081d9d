"""The run record: one folder that holds everything that happened in a run.

    runs/<id>/                    id = YYYYMMDD-HHMMSS-xxxx (UTC, and four random hex digits)
      config.json                 every setting, where it came from, and the command
      environment.json            versions, processor, git state
      data.json                   fingerprints of the data and its partition
      events.jsonl                what happened, hash-chained (`events`)
      resources.jsonl             CPU and memory, once a second (`resources`)
      checkpoints/round-0003.safetensors
      model.safetensors           the final model
      plots/                      drawn from the above, at any time again
      stop-requested              there while somebody asks the run to stop after this round
      lock                        held by the process that drives the run

The first event holds the SHA-256 of config.json and environment.json, and later events those of data.json,
the checkpoints and the model; so the chain covers the whole folder except resources and plots. Nothing
secret lies here: folders are 0755 and files 0644, so that a record can be read, copied and served.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secure_fl.config import RunConfig
from secure_fl.config_sources import ResolvedConfig
from secure_fl.errors import FederationError, IntegrityError, NotFoundError
from secure_fl.runs import checkpoints
from secure_fl.runs.atomic import FILE_MODE, file_sha256, write_atomic, writing
from secure_fl.runs.checkpoints import Checkpoint
from secure_fl.runs.eventlog import EventLog, EventReader
from secure_fl.runs.events import Event, check_link, parse_event
from secure_fl.runs.liveness import live_status
from secure_fl.runs.rounds import summarise
from secure_fl.runs.rows import RoundRow, RunStatus, RunSummary
from secure_fl.runs.verification import Verification, check_file, verify

if TYPE_CHECKING:
    import numpy as np

__all__ = ["RunRecord", "runs_folder"]


class RunRecord:
    """A run's folder. Use `create` or `open`; the constructor checks nothing."""

    def __init__(self, folder: Path, id: str, *, clock: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self.id = id
        self.log = EventLog(folder / "events.jsonl", clock=clock)

    @classmethod
    def create(
        cls,
        home: Path,
        resolved: ResolvedConfig,
        *,
        command: Sequence[str] = (),
        environment: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.time,
        token: Callable[[], str] | None = None,
    ) -> RunRecord:
        """A new record, complete with its `run-created` event. It appears under its name all at once.

        Raises:
            SecureFLError: the folder cannot be written.
        """
        from secure_fl.runs.creation import create, random_token
        from secure_fl.runs.environment import environment as describe

        described = describe() if environment is None else environment
        return create(cls, home, resolved, tuple(command), described, clock, token or random_token)

    @classmethod
    def open(cls, folder: Path, *, clock: Callable[[], float] = time.time) -> RunRecord:
        """An existing record.

        Raises:
            NotFoundError: the folder is no run record.
            IntegrityError: config.json is not the one that the run was created with.
        """
        path = folder / "config.json"
        if not path.is_file():
            raise NotFoundError(
                f"{folder} is not a run record", why="it has no config.json", fix="`secure-fl runs list` shows all runs"
            )
        first = _first_event(folder / "events.jsonl")
        check_file(path, first["config_sha256"])
        return cls(folder, first["run_id"], clock=clock)

    @cached_property
    def _config_document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.folder / "config.json").read_bytes())
        return document

    @cached_property
    def config(self) -> RunConfig:
        """The settings of the run, from config.json."""
        return RunConfig.from_mapping(self._config_document["settings"])

    @cached_property
    def origins(self) -> Mapping[str, str]:
        """Where each setting came from, by kebab-case key."""
        origins: dict[str, str] = self._config_document["origins"]
        return origins

    @property
    def data(self) -> dict[str, Any] | None:
        """What `write_data` wrote, or None."""
        return _read_json(self.folder / "data.json")

    @property
    def environment(self) -> dict[str, Any] | None:
        """Where the run was created."""
        return _read_json(self.folder / "environment.json")

    # -- events

    def append(self, kind: str, **fields: object) -> None:
        """Add an event; it is on the disk when this returns (`eventlog`)."""
        self.log.append(kind, fields)

    def events(self) -> list[Event]:
        """All events; raises IntegrityError naming the line that breaks the chain."""
        return self.log.read()

    def follow(self) -> EventReader:
        """A reader whose `poll` gives the events added since its last one, the old ones first."""
        return EventReader(self.log.path)

    def summary(self) -> RunSummary:
        """Everything that the events add up to."""
        return summarise(self.events())

    def rounds(self) -> list[RoundRow]:
        """The finished rounds in order; what a resumed run repeated replaces the earlier."""
        return list(self.summary().rounds)

    def status(self) -> RunStatus:
        """Where the run stands; a run whose process has died is interrupted."""
        return live_status(self.summary())

    # -- files

    def write_data(self, document: Mapping[str, Any]) -> None:
        """Write data.json and bind it to the chain; the same document again changes nothing."""
        path = self.folder / "data.json"
        text = pretty(document)
        if path.exists() and path.read_bytes() == text:
            return
        digest = write_atomic(path, text)
        self.append("data-described", file=path.name, sha256=digest)

    def save_checkpoint(self, round: int, vector: np.ndarray, spec_digest: str) -> Checkpoint:
        """Write the model after a round, (d,) float32; name it in `round-finished` to make it count."""
        path = checkpoints.checkpoint_path(self.folder, round)
        return checkpoints.save_checkpoint(path, vector, run_id=self.id, round=round, spec_digest=spec_digest)

    def last_checkpoint(self) -> Checkpoint | None:
        """The newest round that has finished and whose checkpoint file has the hash that its event names.

        A checkpoint without its event (a crash came between) or with other bytes does not count.
        """
        for row in reversed(self.rounds()):
            path = checkpoints.checkpoint_path(self.folder, row.round)
            if row.checkpoint_sha256 and path.is_file() and file_sha256(path) == row.checkpoint_sha256:
                return Checkpoint(path, row.round, row.checkpoint_sha256)
        return None

    def checkpoints(self) -> list[Checkpoint]:
        """Those of all rounds up to the last usable one, in order; `load_checkpoint` tells whether each is intact."""
        last = self.last_checkpoint()
        return [
            Checkpoint(checkpoints.checkpoint_path(self.folder, row.round), row.round, row.checkpoint_sha256)
            for row in self.rounds()
            if row.checkpoint_sha256 and last is not None and row.round <= last.round
        ]

    def load_checkpoint(self, checkpoint: Checkpoint) -> np.ndarray:
        """The vector, (d,) float32; raises IntegrityError or ModelFileError when the file is not that one."""
        return checkpoints.read_checkpoint(checkpoint, run_id=self.id)[0]

    def checkpoint_spec(self, checkpoint: Checkpoint) -> str:
        """The digest of the names and shapes that the checkpoint's vector stands for."""
        return checkpoints.read_checkpoint(checkpoint, run_id=self.id)[1]

    # -- control

    def request_stop(self) -> None:
        """Ask the run to end after the round that it is in."""
        with writing(self._stop_path):
            os.close(os.open(self._stop_path, os.O_CREAT | os.O_CLOEXEC, FILE_MODE))

    def stop_requested(self) -> bool:
        """Whether somebody asked the run to end."""
        return self._stop_path.exists()

    def clear_stop(self) -> None:
        """Take the request back, as a resumed run does."""
        with suppress(FileNotFoundError):
            self._stop_path.unlink()

    @contextmanager
    def driving(self) -> Iterator[None]:
        """Be the one process that drives this run, as long as the block lasts.

        Raises:
            FederationError: another process does. Its death frees the run; no stale lock can remain.
        """
        with writing(self.folder / "lock"):
            handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise FederationError(
                    f"another process drives run {self.id}",
                    why="two of them would write two histories into one record",
                    fix=f"wait for it, or `secure-fl runs stop {self.id}`",
                ) from None
            yield
        finally:
            os.close(handle)

    def verify(self) -> Verification:
        """Check the chain and every file that it names; raises IntegrityError naming the line or the file."""
        return verify(self)

    # -- inside

    @property
    def _stop_path(self) -> Path:
        return self.folder / "stop-requested"


def runs_folder(home: Path) -> Path:
    """Where the records of a home lie."""
    return home / "runs"


def pretty(document: Mapping[str, Any]) -> bytes:
    """JSON for people to read, with the keys in their own order."""
    return (json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    document: dict[str, Any] = json.loads(path.read_bytes())
    return document


def _first_event(path: Path) -> Event:
    """The event that a record begins with; reads one line."""
    try:
        with path.open("rb") as file:
            line = file.readline()
    except FileNotFoundError:
        raise NotFoundError(f"{path.parent} is not a run record", why="it has no events.jsonl") from None
    try:
        event = parse_event(line.removesuffix(b"\n"))
        check_link(event, None)
    except IntegrityError as error:
        raise IntegrityError(f"{path}: line 1 breaks the record's hash chain", why=error.what) from None
    if event.kind != "run-created" or "config_sha256" not in event.fields:
        raise IntegrityError(f"{path} does not begin with the creation of a run")
    return event
