"""The Command Center beside training and beside peers: how fast it answers, and what it costs the training.

    python -m benchmarks.webui --gradio-python PYTHON [--quick] [--json]

Claims, on two cores, MobileNetV2 with the small-image stem, JPEG photographs of 640 x 480:

    while a federation trains: a prediction's p95 at most 3 times that of an idle machine, a page's p95 at most 250 ms
    three live pages slow the training by at most 3 %
    an event is at the browser's end of a live stream 1.5 s after it was written, p95
    predictions a second, four clients at once: at least 0.9 times a FastAPI application's, 1.5 times Gradio's
    the resident memory of the serving process is flat (5 %) over 2,000 predictions

How it is measured. Throughput: all servers run; bursts of each follow one another in turns, a ratio is formed in each
turn, and the median counts. Ours checks session, token and upload, peers check nothing; both are sent bare bytes.
Training is a job of the worker. Its slowdown is the ratio of the median round with three live pages of three people to
that without, from pairs of runs in turns; on a shared machine it varies by more than it is, so the CPU that our
process, and the three readers on the same machine, took is printed beside it.
Gradio wants another Pillow than ours: give a Python that has gradio (6) beside our libraries.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.report import Report, finish, note, parser, summary
from benchmarks.webui_servers import Asker, FastApi, Gradio, Ours, let_in, ours, started, worker
from secure_fl.config_sources import resolve
from secure_fl.federation.launch import execute
from secure_fl.runs import RunRecord
from secure_fl.runs.record import runs_folder
from webui.orders import order
from webui.services import open_services
from webui.settings import Settings
from webui.store.jobs import Job, JobState

__all__ = ["main", "p95", "photographs", "rate", "ratios", "times"]

_CLIENTS = 4
_MODEL = ("samples=200", "test-samples=100", "local-epochs=1", "rounds=1", "min-size=5", "grid=local", "sites=3")
_TRAINING = ("model=mobilenet_v2", "samples=240", "test-samples=60", "local-epochs=1", "sites=2", "min-size=5")


def main() -> int:
    """Measure everything and hold it against the bars."""
    options = _options()
    report = Report("webui", {"quick": options.quick, "clients": _CLIENTS, "load": os.getloadavg()[0]})
    pictures = photographs(16)
    with tempfile.TemporaryDirectory(prefix="webui-") as scratch:
        home = Path(scratch)
        model = _trained(home, "preset=demo", *_MODEL)
        let_in(home, model.parent.name)
        with started(ours(home), log=home / "ours.log") as (port, process):
            client = Ours(port, home)
            idle = times(lambda: client.predict(pictures[0]), 100 if options.quick else 400)
            _compare(report, options, home, model, port, pictures)
            _memory(report, process.memory_info, client, pictures, 400 if options.quick else 2000)
            with worker(home, log=home / "worker.log"):
                _beside_training(report, options, home, client, port, pictures[0], idle, process.cpu_times)
    return finish(report, options)


def _options() -> argparse.Namespace:
    made = parser(__doc__ or "")
    made.add_argument("--gradio-python", type=Path, required=True, help="a Python that has gradio and our libraries")
    return made.parse_args()


def _compare(
    report: Report, options: argparse.Namespace, home: Path, model: Path, port: int, pictures: Sequence[bytes]
) -> None:
    """Throughput, in turns."""
    peers: dict[str, tuple[Path, str, Callable[[int], Asker]]] = {
        "fastapi": (Path(sys.executable), "fastapi_app", FastApi),
        "gradio": (options.gradio_python, "gradio_app", Gradio),
    }
    with ExitStack() as running:
        makers: dict[str, Callable[[], Asker]] = {"ours": lambda: Ours(port, home)}
        for name, (python, module, kind) in peers.items():
            command = [str(python), "-m", f"benchmarks.webui_peers.{module}", str(model)]
            peer_port, _ = running.enter_context(started(command, log=home / f"{name}.log"))
            makers[name] = lambda kind=kind, at=peer_port: kind(at)  # type: ignore[misc]
        clients = {name: [make() for _ in range(_CLIENTS)] for name, make in makers.items()}
        turns, burst = (4, 40) if options.quick else (10, 100)
        rates: dict[str, list[float]] = {name: [] for name in clients}
        for name in clients:
            rate(clients[name], pictures, 8)  # each loads what it loads at the first picture
        for turn in range(turns):
            names = list(clients)
            for name in names[turn % 3 :] + names[: turn % 3]:
                rates[name].append(rate(clients[name], pictures, burst))
            note("pictures a second: " + ", ".join(f"{name} {rates[name][-1]:.0f}" for name in names))
    for name, values in rates.items():
        report.figure(f"throughput of {name}, pictures a second", summary(values))
    for peer, bar in (("fastapi", 0.9), ("gradio", 1.5)):
        middle = statistics.median(ratios(rates["ours"], rates[peer]))
        report.bar(f"throughput: ours / {peer}", value=middle, bar=bar, better="higher")


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Ours over theirs, turn by turn: both had the machine in the same state."""
    return [mine / other for mine, other in zip(ours, theirs, strict=True)]


def rate(clients: Sequence[Asker], pictures: Sequence[bytes], count: int) -> float:
    """Pictures a second when all clients ask at once, `count` in all; raises what a client raised."""
    began = time.perf_counter()
    with ThreadPoolExecutor(len(clients)) as pool:
        jobs = [pool.submit(clients[i % len(clients)].predict, pictures[i % len(pictures)]) for i in range(count)]
        for job in jobs:
            job.result()
    return count / (time.perf_counter() - began)


def _memory(report: Report, memory: Callable[[], object], client: Asker, pictures: Sequence[bytes], count: int) -> None:
    """Resident bytes after a warm-up and after `count` predictions."""

    def resident() -> int:
        return int(getattr(memory(), "rss"))  # noqa: B009

    for turn in range(100):
        client.predict(pictures[turn % len(pictures)])
    before = resident()
    for turn in range(count):
        client.predict(pictures[turn % len(pictures)])
    report.figure("resident MB after the warm-up, and after all predictions", [before / 1e6, resident() / 1e6])
    report.bar(f"memory over {count} predictions, ratio", value=resident() / before, bar=1.05, better="lower")


def _beside_training(
    report: Report,
    options: argparse.Namespace,
    home: Path,
    client: Asker,
    port: int,
    picture: bytes,
    idle: Sequence[float],
    cpu: Callable[[], object],
) -> None:
    """Latency, freshness and the tax, while a federation trains."""
    rounds, pairs = (6, 1) if options.quick else (8, 6)
    alone, watched, fresh = [], [], []
    predictions: list[float] = []
    pages: list[float] = []
    spent, read = 0.0, 0.0
    for _ in range(pairs):
        with _training(home, rounds) as run:
            alone += _round_seconds(run)
        with _training(home, rounds) as run:
            before = _cpu_s(cpu), time.process_time()
            watchers = [_Watcher(port, home, run, f"watcher-{tab}") for tab in range(3)]
            watched += _round_seconds(run)
            spent, read = spent + _cpu_s(cpu) - before[0], read + time.process_time() - before[1]
            for each in watchers:
                fresh += each.ended()
        with _training(home, rounds) as run:
            while _trains(run):
                predictions += times(lambda: client.predict(picture), 5)
                pages += times(lambda: client.http.get("/runs").raise_for_status(), 2)
        note(f"rounds alone {statistics.median(alone):.2f} s, watched {statistics.median(watched):.2f} s")
    report.figure("prediction while idle, ms", summary([1e3 * each for each in idle]))
    report.figure("prediction beside training, ms", summary([1e3 * each for each in predictions]))
    report.figure("page beside training, ms", summary([1e3 * each for each in pages]))
    report.figure("round alone, s", summary(alone))
    report.figure("round with three live pages, s", summary(watched))
    report.figure("CPU of our process for three live pages, share of one core", spent / max(sum(watched), 1e-9))
    report.figure("CPU of the three readers, share of one core", read / max(sum(watched), 1e-9))
    report.bar("prediction p95: training / idle", value=p95(predictions) / p95(idle), bar=3.0, better="lower")
    report.bar("page p95 beside training, ms", value=1e3 * p95(pages), bar=250.0, better="lower")
    slower = statistics.median(watched) / statistics.median(alone)
    report.bar("round with three live pages / without", value=slower, bar=1.03, better="lower")
    report.bar("event to live page p95, s", value=p95(fresh), bar=1.5, better="lower")


class _Watcher:
    """A live page: reads the run's stream, and fetches what changed once a second, the most that a page does."""

    def __init__(self, port: int, home: Path, run: RunRecord, user: str) -> None:
        self._stream, self._page, self._run = Ours(port, home, user), Ours(port, home, user), run
        self._late: list[float] = []
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._listen, self._load)]
        self._over = threading.Event()
        for each in self._threads:
            each.start()

    def ended(self) -> list[float]:
        """Stop; how many seconds after its time each event arrived."""
        self._over.set()
        for each in self._threads:
            each.join(20)
        return self._late

    def _listen(self) -> None:
        began = time.time()  # what was written earlier is replayed, and not late
        with self._stream.http.stream("GET", f"/api/v1/runs/{self._run.id}/events") as stream:
            stream.raise_for_status()
            for line in stream.iter_lines():
                if line.startswith("data: {") and '"time"' in line:
                    written = datetime.fromisoformat(json.loads(line[6:])["time"]).timestamp()
                    if written >= began:
                        self._late.append(time.time() - written)
                if self._over.is_set() or line.startswith("event: end"):
                    return

    def _load(self) -> None:
        while not self._over.wait(1.0):
            self._page.http.get(f"/runs/{self._run.id}/part").raise_for_status()


@contextmanager
def _training(home: Path, rounds: int) -> Iterator[RunRecord]:
    """A federation that trains as a job of the worker, from its first round on."""
    services = open_services(Settings(home=home))
    settings = dict(each.split("=") for each in (*_TRAINING, f"rounds={rounds}"))
    made = order("run", {"settings": settings}, home)
    job = services.jobs.submit(services.users.all()[0], made.kind, made.title, made.request)

    def look() -> Job:
        time.sleep(0.2)
        seen = services.jobs.get(job.id)
        if seen.state.final and seen.state is not JobState.SUCCEEDED:
            raise RuntimeError(f"the training ended: {seen.message}")
        return seen

    while (run_id := look().run_id) is None:
        pass
    record = RunRecord.open(runs_folder(home) / run_id)
    while not any(event.kind == "round-started" for event in record.events()):
        look()
    yield record
    while not look().state.final:
        pass


def _round_seconds(run: RunRecord) -> list[float]:
    """Wait for the end; the seconds of all rounds but the first, which warms up."""
    while _trains(run):
        time.sleep(0.5)
    return [event["seconds"] for event in run.events() if event.kind == "round-finished" and event["round"] > 1]


def _trains(run: RunRecord) -> bool:
    return not any(event.kind == "run-finished" for event in run.events())


def _trained(home: Path, preset: str, *settings: str) -> Path:
    """A model of a small run, the one that is served."""
    record = RunRecord.create(
        home,
        resolve(flags={}, assignments=settings, environ={}, preset=preset.partition("=")[2]),
        command=("benchmark",),
    )
    execute(record, home)
    return record.folder / "model.safetensors"


def photographs(count: int) -> list[bytes]:
    """JPEGs of 640 x 480 that are as hard to decode as photographs: smooth shapes with some noise."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((640, 480))
        pixels = np.asarray(coarse, np.int16) + rng.integers(-12, 13, (480, 640, 3))
        out = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=88)
        made.append(out.getvalue())
    return made


def times(call: Callable[[], object], count: int) -> list[float]:
    """Seconds of each of `count` calls, one after the other."""
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return taken


def _cpu_s(cpu: Callable[[], object]) -> float:
    times = cpu()
    return float(getattr(times, "user") + getattr(times, "system"))  # noqa: B009


def p95(values: Sequence[float]) -> float:
    """The value below which 95 % lie (nearest rank)."""
    ranked = sorted(values)
    return ranked[max(0, -(-95 * len(ranked) // 100) - 1)]


if __name__ == "__main__":
    sys.exit(main())
