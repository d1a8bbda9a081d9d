"""How a run record comes into being: under its name all at once, or not at all.

The folder is filled as `.creating-<id>`, where nobody looks, and renamed when its first event is on the
disk. Making that hidden folder is also the claim on the id, so two runs can never share one.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secure_fl.config_sources import ResolvedConfig
from secure_fl.errors import SecureFLError
from secure_fl.runs.atomic import flush_folder, write_atomic, writing
from secure_fl.runs.record import pretty, runs_folder

if TYPE_CHECKING:
    from secure_fl.runs.record import RunRecord

__all__ = ["create", "random_token"]

_FOLDER_MODE = 0o755
_TRIES = 100


def random_token() -> str:
    """What tells two runs of one second apart."""
    return secrets.token_hex(2)


def create(
    record_type: type[RunRecord],
    home: Path,
    resolved: ResolvedConfig,
    command: tuple[str, ...],
    environment: Mapping[str, Any],
    clock: Callable[[], float],
    token: Callable[[], str],
) -> RunRecord:
    """The work of `RunRecord.create`."""
    created = datetime.fromtimestamp(clock(), UTC)
    parent = runs_folder(home)
    with writing(parent):
        parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        id, staging = _claim(parent, created.strftime("%Y%m%d-%H%M%S"), token)
        try:
            _fill(record_type(staging, id, clock=clock), resolved, command, environment, created)
            os.rename(staging, parent / id)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        flush_folder(parent)
    return record_type(parent / id, id, clock=clock)


def _claim(parent: Path, stamp: str, token: Callable[[], str]) -> tuple[str, Path]:
    """A free id and its hidden folder."""
    for _ in range(_TRIES):
        id = f"{stamp}-{token()}"
        staging = parent / f".creating-{id}"
        try:
            staging.mkdir(mode=_FOLDER_MODE)
        except FileExistsError:
            continue
        # Looked for only now: whoever had the claim before us has either renamed it by now, or still holds it.
        if not (parent / id).exists():
            return id, staging
        staging.rmdir()
    raise SecureFLError(f"no free run id under {parent} for {stamp}", fix="try again in a second")


def _fill(
    record: RunRecord,
    resolved: ResolvedConfig,
    command: tuple[str, ...],
    environment: Mapping[str, Any],
    created: datetime,
) -> None:
    config = resolved.config
    document = {
        "run_id": record.id,
        "created": created.isoformat(timespec="milliseconds"),
        "command": list(command),
        "digest": config.digest(),
        "settings": config.to_mapping(),
        "origins": dict(resolved.origins),
    }
    record.append(
        "run-created",
        run_id=record.id,
        config_digest=config.digest(),
        config_sha256=write_atomic(record.folder / "config.json", pretty(document)),
        environment_sha256=write_atomic(record.folder / "environment.json", pretty(environment)),
        seed=config.seed,
        grid=config.grid,
        versions={"secure_fl": environment.get("secure_fl"), **environment.get("packages", {})},
        git=environment.get("git"),
    )
