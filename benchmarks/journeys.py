"""The journeys that have a limit of time, in a real browser on an idle machine.

    python -m benchmarks.journeys [--quick] [--json]

Claims, with the server, the worker and Chromium on one machine of two cores:

    a new run (preset `smoke`, ε = 8) shows its first round at most 15 s after the click that starts it
    a picture that is dropped on the page shows its five guesses at most 1 s later, the first one included
    the page of a run whose processes are killed (SIGKILL) says so at most 10 s later

How it is measured. `serve` as people start it (plain HTTP on the loopback address), all limits of rates in force. The
clock runs in this process: from the click, the drop or the kill until what is due is in the page. The slowest
counts. `tests/webui/test_journeys.py` walks all eight journeys to their ends, on machines that do other things, too.
"""

from __future__ import annotations

import base64
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from benchmarks.report import Report, finish, note, parser, summary
from benchmarks.webui import photographs
from benchmarks.webui_servers import let_in, started
from secure_fl.config_sources import resolve
from secure_fl.federation.launch import execute
from secure_fl.runs import RunRecord
from tools.served import CHROMIUM, Served, chromium, signed_in
from webui.services import open_services
from webui.settings import Settings
from webui.store.users import Role

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["first_round_s", "guesses_s", "main", "truth_s"]

_FIRST_ROUND_S, _GUESSES_S, _TRUTH_S = 15.0, 1.0, 10.0
_PATIENCE_S = 120.0
_MODEL = ("samples=200", "test-samples=100", "local-epochs=1", "rounds=1", "min-size=5", "grid=local", "sites=3")


def main() -> int:
    """Walk all several times, and hold the slowest against the limits."""
    options = parser(__doc__ or "").parse_args()
    if CHROMIUM is None:
        note("error: there is no Chromium on this machine\n  fix: apt-get install chromium")
        return 2
    report = Report("journeys", {"quick": options.quick, "load_1min_before": round(os.getloadavg()[0], 2)})
    with tempfile.TemporaryDirectory(prefix="journeys-") as scratch:
        home = Path(scratch)
        let_in(home, _trained(home))
        with _serving(home) as center, chromium() as browser:
            rounds = [first_round_s(browser, center) for _ in range(2 if options.quick else 5)]
            guesses = guesses_s(browser, center, photographs(5 if options.quick else 20))
            truths = [truth_s(browser, center) for _ in range(1 if options.quick else 3)]
    for what, taken, limit_s in (
        ("click until the first round is shown", rounds, _FIRST_ROUND_S),
        ("drop until guesses are shown", guesses, _GUESSES_S),
        ("kill until it is shown", truths, _TRUTH_S),
    ):
        report.figure(f"{what}, s", summary(taken))
        report.bar(f"{what}, slowest, s", value=max(taken), bar=limit_s, better="lower")
    return finish(report, options)


def first_round_s(browser: Browser, center: Served) -> float:
    """Start a small private run from its form; seconds from the click until the page of the run shows a round."""
    page = _page(browser, center, Role.OPERATOR)
    taken = _started(page, center, rounds=2)
    page.wait_for_selector(".card .status:has-text('succeeded')")
    page.context.close()
    while center.services.jobs.running():  # it draws its curves; the next would wait in the queue
        time.sleep(0.1)
    note(f"first round after {taken:.1f} s")
    return taken


def guesses_s(browser: Browser, center: Served, pictures: list[bytes]) -> list[float]:
    """Drop one picture after the other; seconds until each has its five guesses."""
    page = _page(browser, center, Role.VIEWER)
    page.goto(f"{center.url}/classify")
    taken = []
    for number, picture in enumerate(pictures):
        began = time.perf_counter()
        _drop(page, picture, f"picture-{number}.jpg")
        rows = page.locator(f"article.answer:has-text('picture-{number}.jpg') [data-guesses] tr")
        rows.nth(4).wait_for()
        taken.append(time.perf_counter() - began)
    page.context.close()
    return taken


def truth_s(browser: Browser, center: Served) -> float:
    """Kill all processes of a run that trains; seconds until its page says so."""
    page = _page(browser, center, Role.OPERATOR)
    _started(page, center, rounds=400)
    (job,) = center.services.jobs.running()
    if job.pid is None:
        raise RuntimeError("a job that trains has no process")
    os.killpg(job.pid, signal.SIGSTOP)
    time.sleep(2.0)  # the page has looked: no event of the last moments will have it look again
    began = time.perf_counter()
    os.killpg(job.pid, signal.SIGKILL)
    page.wait_for_selector(".notice:has-text('Interrupted after round')")
    taken = time.perf_counter() - began
    page.context.close()
    note(f"a killed run is shown as one after {taken:.1f} s")
    return taken


def _started(page: Page, center: Served, *, rounds: int) -> float:
    """Start a small private run from its form, and wait for its first round; seconds since the click."""
    page.goto(f"{center.url}/runs/new?preset=smoke")
    page.fill("#dp-epsilon", "8")
    page.fill("#rounds", str(rounds))
    page.select_option("#grid", "local")
    page.wait_for_selector(".copy code:has-text('--dp-epsilon 8')")
    began = time.perf_counter()
    page.click("button:has-text('Start the run')")
    page.locator(".card h2 a[href^='/runs/20']").click()
    page.locator("[data-chart] tbody").first.locator("tr").nth(1).wait_for(state="attached")  # the first is round 0
    return time.perf_counter() - began


def _drop(page: Page, jpeg: bytes, name: str) -> None:
    """Drop a file on the page's zone, as the browser tells a page of it."""
    page.evaluate(
        """([text, name]) => {
            const bytes = Uint8Array.from(atob(text), (each) => each.charCodeAt(0)), files = new DataTransfer();
            files.items.add(new File([bytes], name, { type: "image/jpeg" }));
            const told = new DragEvent("drop", { dataTransfer: files, bubbles: true });
            document.querySelector("[data-drop]").dispatchEvent(told);
        }""",
        [base64.b64encode(jpeg).decode(), name],
    )


def _page(browser: Browser, center: Served, role: Role) -> Page:
    context = signed_in(browser, center, role)
    context.set_default_timeout(1e3 * _PATIENCE_S)
    return context.new_page()


@contextmanager
def _serving(home: Path) -> Iterator[Served]:
    """`serve` with its worker over `home`, from when it is ready."""
    command = [sys.executable, "-m", "webui", "serve", f"--home={home}", "--insecure-http", "--port"]
    with started(command, log=home / "serve.log") as (port, _):
        url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + _PATIENCE_S
        while httpx.get(f"{url}/readyz").json().get("worker") != "ok":
            if time.monotonic() > deadline:
                raise RuntimeError(f"no worker: {(home / 'serve.log').read_text(errors='replace')[-800:]}")
            time.sleep(0.1)
        yield Served(url, open_services(Settings(home=home, port=port, insecure_http=True)))


def _trained(home: Path) -> str:
    """The id of a small run, whose model is served."""
    config = resolve(flags={}, assignments=_MODEL, environ={}, preset="demo")
    record = RunRecord.create(home, config, command=("benchmark",))
    execute(record, home)
    return record.id


if __name__ == "__main__":
    sys.exit(main())
