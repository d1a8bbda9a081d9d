"""What people come for, from the first click to the last: a real browser, the real server and worker, real runs.

Each test is one journey. All share one `python -m webui serve`, over a home in which a few runs have ended already;
whoever is not the subject of a journey is let in by a session in the store. Every page leaves a picture of its end in
the test's folder.

Waits are generous, since other tests compute beside these: here a journey has to come to its end. How long it may take
on an idle machine is held against the promised limits by `benchmarks.journeys` and `benchmarks.webui`.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from secure_fl.app.site_privacy import ledger_file
from secure_fl.privacy.accounting import epsilon
from secure_fl.privacy.ledger import Ledger
from secure_fl.privacy.regime import accounted_delta
from tests.webui.conftest import PASSWORD, ROOT
from tests.webui.pictures import bomb, jpeg
from tools.served import CHROMIUM, Served, chromium, signed_in
from webui.services import open_services
from webui.settings import Settings
from webui.store.jobs import Job
from webui.store.users import Role

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

PATIENCE_S = 120.0  # on a machine that does other things too
RUN_PATIENCE_S = 600.0  # the same for a whole run: one over TLS that is captured starts six processes
TRUTH_S = 10.0  # within which the server knows that a process is gone
_SMALL = {"sites": "2", "grid": "local"}


@pytest.fixture(scope="module")
def center(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`serve` as people start it, but for TLS, which a browser without our authority would refuse."""
    home = tmp_path_factory.mktemp("journeys") / "home"
    shutil.copytree(recorded, home)
    port = _free_port()
    services = open_services(Settings(home=home, port=port, insecure_http=True))
    command = [sys.executable, "-m", "webui", "serve", f"--home={home}", f"--port={port}", "--insecure-http"]
    environ = {key: value for key, value in os.environ.items() if not key.startswith("SFL_")}
    with (home.parent / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=log, stderr=log)
    site = Served(f"http://127.0.0.1:{port}", services)
    try:
        until(lambda: httpx.get(f"{site.url}/readyz").json().get("worker") == "ok", process)
        yield site
    finally:
        process.terminate()
        process.wait(30)
        for job in services.jobs.running():
            if job.pid is not None:
                os.killpg(job.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def page_of(browser: Browser, center: Served, tmp_path: Path) -> Iterator[Callable[[Role | None], Page]]:
    """`page_of(Role.VIEWER)`: a page of somebody in that role; the test fails if a browser had to complain.

    `page_of(None)` is a page of somebody who is not logged in.
    """
    complaints: list[str] = []
    with ExitStack() as closing:

        def opened(role: Role | None) -> Page:
            context = signed_in(browser, center, role) if role else browser.new_context()
            closing.callback(context.close)
            context.set_default_timeout(1e3 * PATIENCE_S)
            page = context.new_page()
            page.on("pageerror", lambda error: complaints.append(str(error)))
            closing.callback(lambda: page.screenshot(path=tmp_path / f"{role or 'newcomer'}.png"))
            return page

        yield opened
    assert complaints == []


def until(
    condition: Callable[[], bool], process: subprocess.Popen[bytes] | None = None, patience_s: float = PATIENCE_S
) -> float:
    """Seconds until `condition` held."""
    began = time.monotonic()
    while True:
        try:
            if condition():
                return time.monotonic() - began
        except httpx.TransportError:  # it does not listen yet
            pass
        assert process is None or process.poll() is None, "the server ended"
        assert time.monotonic() - began < patience_s, "it did not come to that in time"
        time.sleep(0.02)


def start_run(page: Page, center: Served, *, preset: str = "smoke", **settings: str) -> Job:
    """Fill in the form for a new run, and submit it."""
    known = {job.id for job in center.services.jobs.latest()}
    page.goto(f"{center.url}/runs/new?preset={preset}")
    for key, value in settings.items():
        field = page.locator(f"#{key.replace('_', '-')}")
        page.evaluate(
            "(id) => document.getElementById(id).closest('details')?.setAttribute('open', '')",
            field.get_attribute("id"),
        )
        match field.evaluate("(it) => it.type"):
            case "select-one":
                field.select_option(value)
            case "checkbox":
                field.check()
            case _:
                field.fill(value)
    page.click("button:has-text('Start the run')")
    page.wait_for_selector(".notice:has-text('Queued')")
    (job,) = (job for job in center.services.jobs.latest() if job.id not in known)
    return job


def run_of(center: Served, job: Job) -> str:
    """The run that a job writes, as soon as it has one."""
    until(lambda: center.services.jobs.get(job.id).run_id is not None)
    return str(center.services.jobs.get(job.id).run_id)


def last_round(center: Served, run_id: str) -> int:
    """The number of the last round that has finished; 0 is the initial model."""
    rounds = center.services.records.run(run_id).summary.rounds
    return max((each.round for each in rounds if each.finished is not None), default=0)


def signal_job(center: Served, job: Job, number: signal.Signals) -> None:
    """Send a signal to all processes of a job."""
    pid = center.services.jobs.get(job.id).pid
    assert pid is not None
    os.killpg(pid, number)


def end_of(center: Served, job: Job) -> Job:
    until(lambda: center.services.jobs.get(job.id).state.final, patience_s=RUN_PATIENCE_S)
    return center.services.jobs.get(job.id)


def test_a_researcher_logs_in_starts_a_private_run_and_watches_it_to_its_end(
    page_of: Callable[[Role | None], Page], center: Served
) -> None:
    people = center.services.users
    olga = people.add("olga", Role.OPERATOR, center.services.passwords.hash(PASSWORD))
    people.set_password(olga.id, center.services.passwords.hash(PASSWORD))
    page = page_of(None)
    page.goto(center.url)
    page.fill("#name", "olga")
    page.fill("#password", PASSWORD)
    page.click("button:has-text('Log in')")
    page.click("a:has-text('New run')")
    page.click("nav[aria-label=Presets] a:has-text('smoke')")
    page.fill("#dp-epsilon", "8")
    page.fill("#rounds", "8")
    page.select_option("#grid", "local")
    page.wait_for_selector(".copy code:has-text('--dp-epsilon 8')")
    page.click("button:has-text('Start the run')")
    page.locator(".card h2 a[href^='/runs/20']").click()
    page.evaluate("window.neverReloaded = true")
    page.wait_for_selector(".live[data-state=live]")
    rows = page.locator("[data-chart] tbody").first.locator("tr")
    rows.nth(1).wait_for(state="attached")  # the first is of the initial model
    page.wait_for_selector(".plot canvas")
    first = rows.count()
    page.wait_for_selector(".card .status:has-text('succeeded')")
    assert rows.count() == 9 and first >= 2
    assert page.evaluate("window.neverReloaded")
    run = center.services.records.run(page.url.rsplit("/", 1)[1])
    assert float(page.locator("data").first.get_attribute("value") or "") == pytest.approx(
        run.summary.rounds[-1].epsilon, abs=1e-6
    )
    assert (run.summary.rounds[-1].epsilon or 9) <= 8


def test_pages_and_predictions_are_answered_and_no_event_is_lost_while_a_run_trains(
    page_of: Callable[[Role | None], Page], center: Served
) -> None:
    operator, viewer, auditor = page_of(Role.OPERATOR), page_of(Role.VIEWER), page_of(Role.AUDITOR)
    job = start_run(operator, center, rounds="400", **_SMALL)
    run_id = run_of(center, job)
    for tab in (operator, viewer, auditor):
        tab.goto(f"{center.url}/runs/{run_id}")
        tab.wait_for_selector(".live[data-state=live]")
    viewer.evaluate(
        """(id) => {
            window.seen = [];
            const stream = new EventSource(`/api/v1/runs/${id}/events?tab=listener`);
            stream.onmessage = (it) => seen.push(Number(it.lastEventId));
        }""",
        run_id,
    )
    people, paths = [asker(each) for each in (auditor, viewer)], ("/", "/runs", f"/runs/{run_id}", "/privacy")
    until(lambda: last_round(center, run_id) >= 1)  # before that it loads libraries, and does not train
    for turn in range(200):
        people[turn % 2].get(paths[turn % 4])
        if turn % 4 == 0:
            classify(people[turn % 2])
    assert not center.services.jobs.get(job.id).state.final  # it has trained all the while
    operator.goto(center.url)
    operator.click("button[aria-label^='Cancel']")
    assert end_of(center, job).state == "cancelled"
    count = len(center.services.records.run(run_id).events)
    until(lambda: viewer.evaluate("seen.length") == count)
    assert viewer.evaluate("seen") == list(range(count))


def test_an_attack_is_compared_with_its_defense_and_nobody_but_the_attackers_is_left_out(
    page_of: Callable[[Role | None], Page], center: Served, tmp_path: Path
) -> None:
    page = page_of(Role.OPERATOR)
    page.goto(f"{center.url}/attacks")
    for box in page.locator("input[name=defense][type=checkbox]").all():
        box.set_checked(box.get_attribute("value") in ("krum", "multi_krum"))
    assert page.is_checked("input[name=attack][value=sign_flip]")
    page.fill("#byzantine", "3")
    page.fill("#alpha", "100")
    page.fill("#seeds", "1")
    page.fill("#rounds", "2")
    page.click("button:has-text('Compare')")
    (job, *_) = center.services.jobs.latest()
    assert job.kind == "compare" and end_of(center, job).state == "succeeded"
    page.goto(f"{center.url}/attacks")
    page.click("tr:has-text('multi_krum') a")
    headings = page.locator("table.heat").first.locator("th").all_inner_texts()
    assert {"nobody attacks", "sign_flip", "none (mean)", "krum", "multi_krum"} <= set(headings)
    page.locator("table.heat tr:has-text('multi_krum') a[href*='attack=sign_flip']").click()
    left_out = 0
    for row in page.locator("table.heat.dots tbody tr").all():
        attacks = row.locator("th .bad").count() == 1
        assert row.locator("td.out").count() == (2 if attacks else 0)
        left_out += attacks
    assert left_out == 3
    assert "nobody attacks" in page.locator("#bout").inner_text().lower()
    shown = re.search(r"[0-9a-f]{64}", page.locator("#bout").inner_text())
    again = "--attack=sign_flip", "--defense=multi_krum", "--seeds=1", "--rounds=2", "--byzantine=3", "--alpha=100"
    command = [sys.executable, "-m", "secure_fl", "--home", str(tmp_path), "--quiet", "compare", *again]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    cells = [each.read_text() for each in tmp_path.glob("comparisons/*/cells/*.json")]
    assert shown is not None and any(shown[0] in cell for cell in cells)


def test_an_auditor_reads_the_report_of_an_audited_run_and_finds_a_changed_byte(
    page_of: Callable[[Role | None], Page], browser: Browser, center: Served, tmp_path: Path
) -> None:
    check = [sys.executable, "-m", "secure_fl", "audit", "check"]
    if subprocess.run(check, cwd=ROOT, capture_output=True, check=False).returncode:
        pytest.skip("packets cannot be captured here: no audited run")
    job = start_run(page_of(Role.OPERATOR), center, grid="deployment", sites="2", rounds="1", samples="200", audit="on")
    run_id = run_of(center, job)
    assert end_of(center, job).state == "succeeded"
    page = page_of(Role.AUDITOR)
    page.goto(f"{center.url}/audits")
    page.click(f"a:has-text('{run_id}')")
    page.click("button:has-text('Verify the signature')")
    page.wait_for_selector("text=Every byte is what the auditor signed")
    with page.expect_download() as waiting:
        page.click("a:has-text('report.html')")
    report = tmp_path / "report.html"
    waiting.value.save_as(report)
    offline = browser.new_context(offline=True)
    asked: list[str] = []
    reader = offline.new_page()
    reader.on("request", lambda request: asked.append(request.url))
    reader.goto(report.as_uri())
    assert run_id in reader.inner_text("body")
    assert asked == [report.as_uri()]
    offline.close()
    capture = center.services.settings.home / "runs" / run_id / "audit" / "capture.pcap"
    data = bytearray(capture.read_bytes())
    data[-1] ^= 1
    capture.write_bytes(data)
    page.goto(f"{center.url}/audits/{run_id}")
    page.click("button:has-text('Verify the signature')")
    page.wait_for_selector("text=This is not what was signed")
    viewer = page_of(Role.VIEWER)
    answer = viewer.goto(f"{center.url}/audits/{run_id}")
    assert answer is not None and answer.status == 404


def test_a_picture_is_classified_however_it_comes_and_a_bomb_is_refused_by_its_numbers(
    page_of: Callable[[Role | None], Page], center: Served
) -> None:
    page = page_of(Role.VIEWER)
    # Playwright asks the browser for its file choosers without waiting for the answer. Asked for only at the key press,
    # a chooser may open (and be cancelled) before the browser hands it over; asked for here, that is long settled.
    page.on("filechooser", lambda _: None)
    page.goto(f"{center.url}/classify")
    give(page, "drop", jpeg(), "dropped.jpg")
    card = page.locator("article.answer:has-text('dropped.jpg')")
    card.locator("[data-guesses] tr").first.wait_for()
    assert card.locator("[data-guesses] tr").count() == 5
    card.locator("button:has-text('Show where it looked')").click()
    card.locator("[data-heat][src^=blob]").wait_for()
    assert card.locator("[data-preview][src^=blob]").is_visible()

    give(page, "drop", bomb(9408), "bomb.png")
    refused = page.locator("article.answer:has-text('bomb.png')")
    fault = refused.locator("[data-fault]")
    fault.wait_for()
    assert "88.5 megapixels" in fault.inner_text() and "the limit is 24" in fault.inner_text()
    assert refused.locator("[data-preview]").get_attribute("src") is None  # nor does the browser unpack it

    give(page, "paste", jpeg(), "pasted.jpg")
    page.locator("article.answer:has-text('pasted.jpg') [data-guesses] tr").first.wait_for()

    page.locator("#files").focus()  # where Tab leads
    with page.expect_file_chooser() as waiting:
        page.keyboard.press("Enter")
    waiting.value.set_files({"name": "chosen.jpg", "mimeType": "image/jpeg", "buffer": jpeg()})
    chosen = page.locator("article.answer:has-text('chosen.jpg')")
    chosen.locator("select").wait_for()
    chosen.locator("select").select_option("3")
    chosen.locator("button:has-text('Flag it')").press("Enter")
    chosen.locator("[data-flagged]:has-text('Noted')").wait_for()


def test_a_run_that_was_killed_is_shown_so_and_resumed_to_the_very_same_model(
    page_of: Callable[[Role | None], Page], center: Served
) -> None:
    page = page_of(Role.OPERATOR)
    job = start_run(page, center, rounds="6", seed="5", **_SMALL)
    run_id = run_of(center, job)
    page.goto(f"{center.url}/runs/{run_id}")
    page.wait_for_selector(".live[data-state=live]")
    until(lambda: last_round(center, run_id) >= 3)
    # It stands still for longer than a page takes to look again, so that no event of its last moments leads it there.
    signal_job(center, job, signal.SIGSTOP)
    time.sleep(2.0)
    signal_job(center, job, signal.SIGKILL)
    assert until(lambda: center.services.jobs.get(job.id).state.final) <= TRUTH_S
    page.wait_for_selector(".notice:has-text('Interrupted after round')")
    page.click("button:has-text('Resume')")
    page.wait_for_selector(".notice:has-text('Queued')")
    twin = start_run(page, center, rounds="6", seed="5", **_SMALL)
    assert end_of(center, twin).state == "succeeded"
    prints = []
    for id in (run_id, run_of(center, twin)):
        page.goto(f"{center.url}/runs/{id}/artifacts")
        prints.append(page.locator("dt:has-text('weights') + dd").inner_text())
    assert prints[0] == prints[1] and len(prints[0]) == 64


def test_a_role_that_is_taken_away_counts_at_once_and_a_session_ends_where_an_admin_ends_it(
    page_of: Callable[[Role | None], Page], center: Served
) -> None:
    operator, admin = page_of(Role.OPERATOR), page_of(Role.ADMIN)
    operator.goto(f"{center.url}/runs/new")
    (user,) = (each for each in center.services.users.all() if each.name == "some-operator")
    admin.goto(f"{center.url}/admin/users")
    admin.click("a:has-text('some-operator')")
    admin.select_option("#role", "viewer")
    admin.click("button:has-text('Change the role')")
    until(lambda: center.services.users.get(user.id).role is Role.VIEWER)
    with operator.expect_response(
        lambda answer: answer.request.method == "POST" and answer.url.endswith("/runs/new")
    ) as waiting:
        operator.click("button:has-text('Start the run')")
    assert waiting.value.status == 403
    operator.wait_for_selector("h1:has-text('You may not do this')")
    admin.goto(f"{center.url}/admin/log")
    rows = admin.locator("tbody tr").all_inner_texts()[:10]
    assert any("denied" in row and "POST /runs/new" in row for row in rows)
    assert any("role" in row and "some-operator" in row and "some-admin" in row for row in rows)
    admin.goto(f"{center.url}/admin/users/{user.id}")
    while admin.locator("button:has-text('End')").count():
        admin.locator("button:has-text('End')").first.click()
    operator.goto(f"{center.url}/runs")
    assert "/login" in operator.url
    center.services.users.set_role(user.id, Role.OPERATOR, center.services.users.get(user.id).version)


def test_a_run_whose_round_was_lost_stops_before_its_budget_is_exceeded_and_says_what_the_next_would_cost(
    page_of: Callable[[Role | None], Page], center: Served
) -> None:
    """A run whose rounds cannot all be afforded does not even begin. What is left is a round that a crash cut off:
    sites have paid for it, so that one of the planned ones is too many."""
    page, home = page_of(Role.OPERATOR), center.services.settings.home
    ledgers = [Ledger(ledger_file(home, f"site-{index}")) for index in range(2)]
    spent_before = [len(each.spendings()) for each in ledgers]
    dear = start_run(page, center, rounds="3", dp_epsilon="2", dp_noise_multiplier="0.5", **_SMALL)
    assert end_of(center, dear).exit_code == 2
    page.goto(f"{center.url}/runs/{run_of(center, dear)}")
    assert "too little for ε = 2" in page.locator(".notice.bad").inner_text()
    assert [len(each.spendings()) for each in ledgers] == spent_before
    job = start_run(page, center, rounds="3", dp_epsilon="2", local_epochs="4", quorum="1", **_SMALL)
    run_id = run_of(center, job)

    def paid(ledger: Ledger) -> int:
        return sum(each.run == run_id for each in ledger.spendings())

    until(lambda: any(paid(each) == 2 for each in ledgers))
    signal_job(center, job, signal.SIGKILL)
    assert end_of(center, job).state == "interrupted" and last_round(center, run_id) == 1
    page.goto(f"{center.url}/runs/{run_id}")
    page.click("button:has-text('Resume')")
    page.wait_for_selector(".notice:has-text('Queued')")
    (resumed, *_) = center.services.jobs.latest()
    assert end_of(center, resumed).exit_code == 3
    page.goto(f"{center.url}/runs/{run_id}")
    told = page.locator(".notice.bad").inner_text()
    assert "the privacy budget ends the run before round 3" in told
    would = re.search(r"it would come to ε = (\d\.\d+)", told)
    assert would is not None and float(would[1]) > 2
    for ledger in ledgers:  # what each site has paid, the lost round too
        events = [each.event for each in ledger.spendings() if each.run == run_id]
        delta = accounted_delta(center.services.records.run(run_id).config)
        assert len(events) == 3 and epsilon(events, delta).value <= 2
    spent = [each.epsilon for each in center.services.records.run(run_id).summary.rounds if each.epsilon is not None]
    assert 0 < max(spent) <= 2


def asker(page: Page) -> httpx.Client:
    """A client that is logged in as the page's user, and raises for any answer that is not 2xx."""
    client = httpx.Client(base_url=httpx.URL(page.url).copy_with(path="/"), timeout=PATIENCE_S)
    client.cookies.update({each["name"]: each["value"] for each in page.context.cookies()})  # type: ignore[typeddict-item]
    client.headers["X-CSRF-Token"] = page.locator("meta[name=csrf-token]").get_attribute("content") or ""
    client.event_hooks["response"] = [lambda answer: answer.raise_for_status() and None]
    return client


def classify(client: httpx.Client) -> None:
    assert len(client.post("/api/v1/predict", files={"image": ("a.jpg", jpeg())}).json()["guesses"]) == 5


def give(page: Page, how: str, data: bytes, name: str) -> None:
    """Drop or paste a file, as the browser tells a page of it."""
    page.evaluate(
        """([how, text, name]) => {
            const bytes = Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
            const files = new DataTransfer(), zone = document.querySelector("[data-drop]");
            files.items.add(new File([bytes], name, { type: name.endsWith("png") ? "image/png" : "image/jpeg" }));
            if (how === "paste") document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: files }));
            else zone.dispatchEvent(new DragEvent("drop", { dataTransfer: files, bubbles: true }));
        }""",
        [how, base64.b64encode(data).decode(), name],
    )


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port
