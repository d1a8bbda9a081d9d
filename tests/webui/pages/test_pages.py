"""Every page over real records: it is there, says what it must, and loads neither Flower nor training code."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.webui.conftest import ROOT, Browser, run_ids
from webui.services import Services
from webui.store.users import Role

TABS = ("sites", "privacy", "security", "config", "log", "artifacts")


def page_paths(ids: dict[str, str]) -> Iterator[str]:
    """All pages of a home in which everything has happened."""
    yield from ("/", "/runs", "/runs/new", "/compare", "/attacks", "/attacks/digits", "/privacy", "/audits")
    yield from ("/system", "/jobs", "/models")
    yield f"/compare?run={ids['plain']}&run={ids['attacked']}"
    for id in ids.values():
        yield f"/runs/{id}"
        yield from (f"/runs/{id}/{tab}" for tab in TABS)
    yield from (f"/audits/{ids[each]}" for each in ("plain", "private"))


def text_of(browser: Browser, path: str) -> str:
    """What a page says, without its tags."""
    answer = browser.get(path)
    assert answer.status_code == 200, path
    bare = re.sub(r"<[^>]+>", " ", answer.get_data(as_text=True))
    return " ".join(html.unescape(bare).split())


def test_every_page_is_there_for_an_admin(full_home: Path, client_as: Callable[..., Browser]) -> None:
    browser = client_as(Role.ADMIN)
    for path in page_paths(run_ids(full_home)):
        assert browser.get(path).status_code == 200, path


def test_no_page_holds_inline_style_or_script(full_home: Path, client_as: Callable[..., Browser]) -> None:
    browser = client_as(Role.ADMIN)
    for path in page_paths(run_ids(full_home)):
        text = browser.get(path).get_data(as_text=True)
        assert not re.search(r"\sstyle=|<style|\son[a-z]+=\"|<script(?![^>]*\ssrc=)", text), path
        assert "http://" not in text.replace("http://www.w3.org", ""), path


def test_an_empty_home_names_the_next_step_and_its_command(client_as: Callable[..., Browser]) -> None:
    browser = client_as(Role.ADMIN)
    for path, command in (
        ("/", "secure-fl run --preset smoke"),
        ("/runs", "secure-fl run --preset smoke"),
        ("/compare", "secure-fl run --preset smoke"),
        ("/attacks", "secure-fl compare"),
        ("/privacy", "secure-fl run --preset private"),
        ("/audits", "secure-fl run --preset demo --audit"),
    ):
        assert command in text_of(browser, path), path


def test_the_progress_tab_shows_the_numbers_of_the_record(
    full_home: Path, services: Services, client_as: Callable[..., Browser]
) -> None:
    id = run_ids(full_home)["private"]
    last = services.records.run(id).summary.rounds[-1]
    answer = client_as(Role.VIEWER).get(f"/runs/{id}").get_data(as_text=True)
    shown = re.search(r'<data value="([^"]+)">', answer)
    assert shown is not None and float(shown[1]) == pytest.approx(last.epsilon, abs=1e-6)
    assert f"{100 * last.accuracy:.1f}\N{NO-BREAK SPACE}%" in answer if last.accuracy else False


def test_what_a_viewer_may_not_do_is_not_offered(full_home: Path, client_as: Callable[..., Browser]) -> None:
    viewer, operator = client_as(Role.VIEWER), client_as(Role.OPERATOR)
    id = run_ids(full_home)["plain"]
    for path in ("/", "/runs", "/attacks", f"/runs/{id}"):
        assert not re.search("New run|New from this|New comparison|Replay", text_of(viewer, path)), path
    assert "New run" in text_of(operator, "/runs")
    assert viewer.get(f"/audits/{id}").status_code == 404


def test_a_run_is_queued_from_the_form_and_can_be_cancelled_by_its_owner(
    services: Services, client_as: Callable[..., Browser]
) -> None:
    operator, other = client_as(Role.OPERATOR, "olga"), client_as(Role.OPERATOR, "otto")
    assert operator.post("/runs/new", data={"rounds": "3", "grid": "local"}).status_code == 302
    (job,) = services.jobs.unfinished()
    assert (job.kind, job.request["settings"]) == ("run", {"rounds": 3, "grid": "local"})
    assert "Cancel" in text_of(operator, "/") and "Cancel" not in text_of(other, "/")
    assert other.post(f"/jobs/{job.id}/cancel").status_code == 403
    assert operator.post(f"/jobs/{job.id}/cancel").status_code == 302
    assert services.jobs.unfinished() == []


def test_a_form_with_a_wrong_value_comes_back_with_what_is_wrong(
    services: Services, client_as: Callable[..., Browser]
) -> None:
    operator = client_as(Role.OPERATOR)
    answer = operator.post("/runs/new", data={"rounds": "0", "lr": "0.5"})
    text = answer.get_data(as_text=True)
    assert answer.status_code == 422
    assert 'aria-invalid="true"' in text and "Give a value between 1 and 100,000" in text
    assert 'value="0.5"' in text and services.jobs.unfinished() == []
    judged = operator.post("/runs/new/check", data={"rounds": "0"}).json
    assert judged == {"errors": {"rounds": "Give a value between 1 and 100,000"}, "command": ""}
    assert operator.post("/runs/new/check", data={"rounds": "9"}).json["command"] == "secure-fl run --rounds 9"


def test_comparisons_and_replays_are_queued(services: Services, client_as: Callable[..., Browser]) -> None:
    admin = client_as(Role.ADMIN)
    wish = {"attack": ["alie"], "defense": ["krum", "median"], "seeds": "1", "rounds": "2", "byzantine": "1"}
    assert admin.post("/attacks/compare", data=wish).status_code == 302
    assert admin.post("/attacks/replay", data={"scenario": "one-nan", "defense": ["mean"]}).status_code == 302
    assert [job.kind for job in services.jobs.unfinished()] == ["compare", "replay"]
    assert admin.post("/attacks/compare", data={"attack": ["no_such"]}).status_code == 422


def test_every_attack_and_defense_of_the_form_can_be_ordered(
    services: Services, client_as: Callable[..., Browser]
) -> None:
    admin = client_as(Role.ADMIN)
    page = admin.get("/attacks").get_data(as_text=True)
    found = {
        kind: re.findall(rf'name="{kind}" value="([^"]+)"', page.split("<h2>Scenarios")[0])
        for kind in ("attack", "defense")
    }
    assert len(found["attack"]) > 4 and len(found["defense"]) > 4
    assert admin.post("/attacks/compare", data={**found, "seeds": "1", "byzantine": "1"}).status_code == 302


def test_files_are_those_that_are_listed_and_come_as_downloads(
    full_home: Path, client_as: Callable[..., Browser]
) -> None:
    browser, id = client_as(Role.VIEWER), run_ids(full_home)["plain"]
    answer = browser.get(f"/runs/{id}/files/model.safetensors")
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"].startswith("attachment")
    for name in ("lock", "audit/capture.pcap", "../index.sqlite", "%2e%2e/index.sqlite", "logs/../config.json"):
        assert browser.get(f"/runs/{id}/files/{name}").status_code == 404, name
    (full_home / "runs" / id / "logs").mkdir(exist_ok=True)
    os.symlink("/etc/passwd", full_home / "runs" / id / "logs" / "site.log")
    assert browser.get(f"/runs/{id}/files/logs/site.log").status_code == 404


def test_an_audit_is_verified_and_a_changed_byte_is_told(full_home: Path, client_as: Callable[..., Browser]) -> None:
    auditor, id = client_as(Role.AUDITOR), run_ids(full_home)["private"]
    assert "Every byte is what the auditor signed" in auditor.post(f"/audits/{id}/verify").get_data(as_text=True)
    (full_home / "runs" / id / "audit" / "capture.pcap").write_bytes(b"other")
    assert "This is not what was signed" in auditor.post(f"/audits/{id}/verify").get_data(as_text=True)
    assert client_as(Role.OPERATOR).post(f"/audits/{id}/verify").status_code == 403


def test_a_hostile_name_cannot_steer_a_page(
    full_home: Path, services: Services, client_as: Callable[..., Browser]
) -> None:
    id = run_ids(full_home)["plain"]
    services.records.run(id).record.append("site-refused", who="<script>alert(1)</script>\u202e", reason="no\x1b[31m")
    for tab in ("security", "log"):
        text = client_as(Role.VIEWER, f"v-{tab}").get(f"/runs/{id}/{tab}").get_data(as_text=True)
        assert "<script>alert" not in text and "\u202e" not in text and "\x1b" not in text


_PROBE = """
import sys
from pathlib import Path
from tests.webui.conftest import BASE, run_ids
from tests.webui.pages.test_pages import page_paths
from webui.app import create_app
from webui.settings import Settings
from webui.store.sessions import Stage
from webui.store.users import Role

home = Path(sys.argv[1])
app = create_app(Settings(home=home, argon2_memory_kib=64, limits=False))
services = app.extensions["services"]
user = services.users.add("probe", Role.ADMIN, "x")
client = app.test_client()
id = services.sessions.start(user.id, Stage.FULL, address="", agent="")
client.set_cookie("__Host-sid", id, domain="localhost", secure=True)
banned = ("flwr", "opacus", "ray", "torch", "secure_fl.app", "secure_fl.training", "secure_fl.federation")
for path in ("/login", *page_paths(run_ids(home))):
    assert client.get(path, base_url=BASE).status_code in (200, 302), path
    loaded = [name for name in banned if name in sys.modules]
    assert not loaded, f"{path} loads {loaded}"
"""


def test_no_page_loads_flower_or_training_code(full_home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, str(full_home)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
