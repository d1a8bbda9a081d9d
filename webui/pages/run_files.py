"""The files of a run that may be looked at: what is listed, and nothing else."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from webui.reading.records import Run

__all__ = ["Artifact", "artifacts_of", "log_tail", "logs_of", "tail"]

_WORDS = {
    "model.safetensors": "the final model",
    "config.json": "every setting and where it came from",
    "environment.json": "versions, processor, commit",
    "data.json": "fingerprints of the data and its partition",
    "roster.json": "the sites that were enrolled",
    "events.jsonl": "what happened, hash-chained",
    "resources.jsonl": "CPU and memory by second",
}
_FOLDERS = {
    "checkpoints": "the model after a round",
    "plots": "drawn from the record",
    "logs": "what a process said",
    "export": "exported numbers",
}
_TAIL_BYTES = 64 * 1024


@dataclass(frozen=True)
class Artifact:
    """A file: its path inside the record, what it is, and its size."""

    name: str
    words: str
    bytes: int
    modified_s: float


def artifacts_of(folder: Path) -> list[Artifact]:
    """Files of the record by name. Audits have a page, and rules, of their own; links are never followed."""
    found = [Path(name) for name in _WORDS]
    for each in _FOLDERS:
        if (folder / each).is_dir():
            found += sorted(path.relative_to(folder) for path in (folder / each).iterdir())
    artifacts = []
    for path in found:
        full = folder / path
        if full.is_file() and not full.is_symlink() and not path.name.startswith("."):
            stat = full.stat()
            words = _WORDS.get(str(path)) or _FOLDERS.get(path.parts[0], "")
            artifacts.append(Artifact(str(path), words, stat.st_size, stat.st_mtime))
    return artifacts


def logs_of(folder: Path) -> list[str]:
    """Names of the processes' logs, of runs that had processes of their own."""
    return sorted(each.name for each in (folder / "logs").glob("*.log") if each.is_file() and not each.is_symlink())


def log_tail(run: Run, name: str) -> str:
    """The end of one of `logs_of`; "" for any other name."""
    if name not in logs_of(run.record.folder):
        return ""
    return tail(run.record.folder / "logs" / name)


def tail(file: Path) -> str:
    """The last 64 KiB of a text, from a whole line on; "" where there is no such file."""
    try:
        with file.open("rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            opened.seek(max(0, size - _TAIL_BYTES))
            text = opened.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    if size <= _TAIL_BYTES:
        return text
    return f"… the first {size - _TAIL_BYTES:,} bytes are in the file …\n{text.partition(chr(10))[2]}"
