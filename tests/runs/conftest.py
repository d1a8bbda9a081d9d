"""Records to test with. `clock` stands still until a test moves it; `play` writes the events of a run in order."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from secure_fl.config import RunConfig
from secure_fl.config_sources import ResolvedConfig
from secure_fl.runs import RunRecord

ENVIRONMENT = {"secure_fl": "0.1.0", "packages": {"flwr": "1.41.0"}, "git": {"commit": "0" * 40, "dirty": False}}
# A trial on the digits: accuracy and loss of the global model, round 0 first.
ACCURACY = (0.1000, 0.339, 0.617, 0.811, 0.903, 0.950, 0.964)
LOSS = (2.3026, 1.951, 1.182, 0.640, 0.331, 0.183, 0.121)


class Clock:
    """Seconds since 1970, moved by hand."""

    def __init__(self, now_s: float = 1_795_452_241.25) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def pass_(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make_record(tmp_path: Path, clock: Clock) -> Callable[..., RunRecord]:
    """Build a record in `tmp_path`; keywords are settings."""
    tokens = (f"{number:04x}" for number in range(1000))

    def make(**settings: Any) -> RunRecord:
        resolved = ResolvedConfig(RunConfig(**settings), {"lr": "default"})
        command = ("secure-fl", "run")
        return RunRecord.create(
            tmp_path, resolved, command=command, environment=ENVIRONMENT, clock=clock, token=tokens.__next__
        )

    return make


@pytest.fixture
def record(make_record: Callable[..., RunRecord]) -> RunRecord:
    return make_record(sites=3, rounds=6)


class Player:
    """Writes what a coordinator would write; each step takes some seconds on the clock."""

    def __init__(self, record: RunRecord, clock: Clock) -> None:
        self.record, self.clock = record, clock

    def start(self, *, pid: int = 2**30, resumed_from_round: int | None = None, sites: int = 3) -> None:
        names = [f"site-{index}" for index in range(sites)]
        self.record.append(
            "run-started",
            pid=pid,
            grid="local",
            tls=False,
            mutual_tls=False,
            resumed_from_round=resumed_from_round,
            sites=names,
            spec_digest="5bec",
            parameters=4,
            model="mobilenet_v2",
        )
        for index, name in enumerate(names):
            self.record.append("site-joined", site=name, index=index)

    def open_round(self, number: int, sites: Sequence[str] = ("site-0", "site-1", "site-2")) -> None:
        self.record.append("round-started", round=number, sites=list(sites))
        for index, name in enumerate(sites):
            self.clock.pass_(4.0)
            self.reply(number, name, share=0.8 + 0.06 * index)

    def reply(self, number: int, name: str, *, share: float = 1.0) -> None:
        self.record.append(
            "reply-accepted",
            round=number,
            site=name,
            weight=400.0,
            samples=400,
            train_loss=0.8 * LOSS[number],
            validation_loss=LOSS[number] / share,
            validation_accuracy=min(1.0, ACCURACY[number] * share),
            received_validation_loss=LOSS[number - 1],
            received_validation_accuracy=ACCURACY[number - 1],
            per_class_accuracy=[1.0, None, 0.5],
            compute_s=3.5,
            elapsed_s=3.9,
            cpu_s=3.4,
            memory_bytes=450_000_000,
            bytes_up=8_950_000,
            bytes_down=8_960_000,
        )

    def finish_round(self, number: int, *, vector: Any = None, **changes: Any) -> None:
        saved = {"checkpoint": None, "checkpoint_sha256": None}
        if vector is not None:
            checkpoint = self.record.save_checkpoint(number, vector, "5bec")
            saved = {"checkpoint": checkpoint.name, "checkpoint_sha256": checkpoint.sha256}
        self.clock.pass_(1.0)
        fields = {
            "round": number,
            "loss": LOSS[number],
            "accuracy": ACCURACY[number],
            "per_class_accuracy": [1.0, 0.9, 0.8],
            "samples": 360,
            "seconds": 13.0,
            "train_loss": 0.8 * LOSS[number],
            "bytes_up": 26_850_000,
            "bytes_down": 26_880_000,
            "accepted": ["site-0", "site-1", "site-2"],
            "update_norm": 3.2,
            **saved,
        }
        self.record.append("round-finished", **{**fields, **changes})

    def finish(self, status: str = "succeeded", **changes: Any) -> None:
        last = self.record.rounds()[-1]
        fields = {
            "status": status,
            "round": last.round,
            "loss": last.loss,
            "accuracy": last.accuracy,
            "seconds": 80.0,
            "model_sha256": None,
            "error": None,
        }
        self.record.append("run-finished", **{**fields, **changes})

    def whole_run(self, rounds: int = 6) -> None:
        self.start()
        self.finish_round(0)
        for number in range(1, rounds + 1):
            self.open_round(number)
            self.finish_round(number)
        self.finish()


@pytest.fixture
def play(clock: Clock) -> Callable[[RunRecord], Player]:
    return lambda record: Player(record, clock)


@pytest.fixture
def tampered() -> Iterator[Callable[[Path, Callable[[list[Any]], list[Any]]], None]]:
    """Rewrite the lines of a JSONL file as somebody would who knows nothing of the chain."""

    def rewrite(path: Path, change: Callable[[list[Any]], list[Any]]) -> None:
        documents = change([json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()])
        lines = [json.dumps(each, sort_keys=True, separators=(",", ":"), ensure_ascii=False) for each in documents]
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    yield rewrite
