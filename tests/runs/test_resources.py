"""The sampler against work whose cost is known: processes that burn CPU or hold memory until told to end."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from secure_fl.runs.resources import ProcessTree, ResourceSampler, Sample, read_samples

MIB = 2**20
BURN_S = 0.3
# Says "ready", then obeys: "burn" uses CPU for a while, "hold" takes 64 MiB; ends when its input does.
WORKER = f"""
import sys, time
for order in sys.stdin:
    if order == "burn\\n":
        end = time.process_time() + {BURN_S}
        while time.process_time() < end: pass
    elif order == "hold\\n":
        held = b"x" * (64 * {MIB})
    print("done", flush=True)
"""
# Starts a worker of its own and hands everything on: the worker is a grandchild.
PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"


@contextmanager
def worker(*, grandchild: bool = False) -> Iterator[Callable[[str], None]]:
    command = [sys.executable, "-c", PARENT, WORKER] if grandchild else [sys.executable, "-c", WORKER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def obey(order: str) -> None:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(order + "\n")
            process.stdin.flush()
            assert process.stdout.readline() == "done\n"

        obey("begin")
        yield obey


@pytest.mark.parametrize("grandchild", [False, True])
def test_cpu_and_memory_of_descendants_count(grandchild: bool) -> None:
    with worker(grandchild=grandchild) as order:
        tree = ProcessTree(os.getpid(), memory_period_s=0.0)
        _, before_bytes = tree.measure()
        order("burn")
        order("hold")
        used_s, after_bytes = tree.measure()
    assert used_s >= 0.9 * BURN_S
    assert after_bytes - before_bytes == pytest.approx(64 * MIB, rel=0.2)


def test_cpu_time_is_counted_once() -> None:
    with worker() as order:
        tree = ProcessTree(os.getpid(), memory_period_s=0.0)
        order("burn")
        tree.measure()
        used_s, _ = tree.measure()
    assert used_s < 0.5 * BURN_S


def test_a_child_that_was_born_since_counts_from_its_birth() -> None:
    tree = ProcessTree(os.getpid(), memory_period_s=0.0)
    with worker() as order:
        order("burn")
        used_s, _ = tree.measure()
    assert used_s >= 0.9 * BURN_S


def test_a_child_that_dies_is_no_trouble_and_never_counts_negative() -> None:
    with worker() as order:
        tree = ProcessTree(os.getpid(), memory_period_s=0.0)
        order("burn")
        tree.measure()
    used_s, memory_bytes = tree.measure()
    assert 0.0 <= used_s < 0.5
    assert memory_bytes > 0


def test_shared_memory_is_counted_once() -> None:
    tree = ProcessTree(os.getpid(), memory_period_s=0.0)
    with worker(), worker(), worker():
        _, together_bytes = tree.measure()
        resident = [psutil.Process().memory_info().rss]
        resident += [each.memory_info().rss for each in psutil.Process().children(recursive=True)]
    assert together_bytes < sum(resident)


def test_memory_is_measured_once_a_period_because_it_is_dear() -> None:
    tree = ProcessTree(os.getpid(), memory_period_s=3600.0)
    _, before_bytes = tree.measure()
    with worker() as order:
        order("hold")
        _, after_bytes = tree.measure()
    assert before_bytes == after_bytes > 0


def test_samples_have_the_documented_fields_in_ascending_time(tmp_path: Path) -> None:
    path = tmp_path / "resources.jsonl"
    before_s = time.time()
    with worker() as order, ResourceSampler(path, period_s=0.1):
        order("burn")
        order("burn")
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    names = {"t_s", "time_s", "cpu_percent", "memory_used_bytes", "run_cpu_percent", "run_memory_bytes"}
    assert all(line.keys() == names for line in lines)
    assert len(lines) >= 3
    assert [line["t_s"] for line in lines] == sorted({line["t_s"] for line in lines})
    assert all(before_s - 1 <= line["time_s"] <= time.time() + 1 for line in lines)
    assert all(0 <= line["run_cpu_percent"] <= 100 and 0 <= line["cpu_percent"] <= 100 for line in lines)
    total_bytes = psutil.virtual_memory().total
    assert all(MIB < line["run_memory_bytes"] < total_bytes for line in lines)
    assert all(MIB < line["memory_used_bytes"] < total_bytes for line in lines)


def test_the_cpu_time_in_the_samples_adds_up_to_what_was_used(tmp_path: Path) -> None:
    path = tmp_path / "resources.jsonl"
    with worker() as order, ResourceSampler(path, period_s=0.1):
        order("burn")
    samples = read_samples(path)
    starts_s = [0.0, *(sample.t_s for sample in samples)]
    cores = psutil.cpu_count() or 1
    used_s = sum(
        each.run_cpu_percent / 100 * cores * (each.t_s - start_s)
        for each, start_s in zip(samples, starts_s, strict=False)
    )
    assert BURN_S * 0.7 <= used_s <= BURN_S * 2 + 0.3


def test_even_the_shortest_block_leaves_a_sample(tmp_path: Path) -> None:
    with ResourceSampler(tmp_path / "resources.jsonl", period_s=60.0):
        pass
    assert len(read_samples(tmp_path / "resources.jsonl")) == 1


def test_a_resumed_run_appends(tmp_path: Path) -> None:
    path = tmp_path / "resources.jsonl"
    for _ in range(2):
        with ResourceSampler(path, period_s=60.0):
            pass
    assert len(read_samples(path)) == 2


def test_a_disk_that_refuses_ends_the_sampling_and_not_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), ResourceSampler(tmp_path / "none" / "resources.jsonl"):
        pass
    assert "resource use is no longer recorded" in caplog.text


def test_an_exception_in_the_block_ends_the_sampling_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "resources.jsonl"
    with pytest.raises(KeyboardInterrupt), ResourceSampler(path, period_s=60.0):
        raise KeyboardInterrupt
    assert len(read_samples(path)) == 1


def test_a_period_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        ResourceSampler(tmp_path / "resources.jsonl", period_s=0.0)


def test_a_line_that_a_crash_tore_is_left_out_when_read(tmp_path: Path) -> None:
    path = tmp_path / "resources.jsonl"
    sample = Sample(1.0, 2.0, 3.0, 4, 5.0, 6)
    line = json.dumps({name: getattr(sample, name) for name in Sample.__dataclass_fields__})
    path.write_text(f"{line}\n{line[:20]}{line}\n{line}\n{line[:30]}", encoding="utf-8")
    assert read_samples(path) == [sample, sample]
    assert read_samples(tmp_path / "none") == []
