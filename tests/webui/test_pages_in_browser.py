"""Every page in a real browser, both themes and two widths: what axe-core finds, and what the browser complains of.

And what only a browser can show: that a page which is open keeps up, that charts are drawn, that keys work.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from secure_fl.config import RunConfig
from secure_fl.config_sources import ResolvedConfig
from secure_fl.runs import RunRecord
from tests.webui.conftest import run_ids
from tests.webui.pages.test_pages import page_paths
from tools.served import CHROMIUM, Served, chromium, served, signed_in
from webui.store.users import Role

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

_AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text(encoding="utf-8")
_JUDGE = """() => axe.run().then((found) => found.violations.map(
    (each) => `${each.id}: ${each.nodes.map((node) => node.html.slice(0, 120)).join(" | ")}`))"""
_LISTEN = "window.refused = []; addEventListener('securitypolicyviolation', (e) => refused.push(e.violatedDirective))"
_THEMES, _WIDTHS = ("light", "dark"), (1280, 360)


@pytest.fixture(scope="module")
def site(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("served")
    shutil.copytree(recorded, home, dirs_exist_ok=True)
    with served(home) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def page(browser: Browser, site: Served) -> Iterator[Page]:
    """A page of an admin, which ends the test if the browser had anything to complain of."""
    context = signed_in(browser, site, Role.ADMIN)
    context.set_default_timeout(10_000)
    context.add_init_script(_LISTEN)
    opened, complaints = context.new_page(), list[str]()
    opened.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    yield opened
    context.close()
    assert complaints == []


def faults_of(page: Page) -> list[str]:
    """What is wrong with the open page in every theme and width."""
    faults: list[str] = []
    page.evaluate(_AXE)
    for theme in _THEMES:
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        for width in _WIDTHS:
            page.set_viewport_size({"width": width, "height": 800})
            page.wait_for_timeout(80)  # charts take the new width with the next frame
            where = f"{theme}, {width} px"
            faults += [f"{where}: {each}" for each in page.evaluate(_JUDGE)]
            if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                faults.append(f"{where}: scrolls sideways")
    return faults + [f"policy: {each}" for each in page.evaluate("refused")]


def test_no_page_has_a_fault_in_any_theme_or_width(page: Page, site: Served) -> None:
    ids = run_ids(site.services.settings.home)
    paths = [path for path in page_paths(ids) if ids["plain"] not in path or path == f"/audits/{ids['plain']}"]
    faults = {}
    for path in [*paths, "/runs?text=nothing-like-it", "/classify", "/account", "/admin/users", "/admin/log"]:
        page.goto(site.url + path)
        if found := faults_of(page):
            faults[path] = found
    assert faults == {}


def test_empty_pages_have_no_fault_either(browser: Browser, tmp_path: Path) -> None:
    with served(tmp_path) as site:
        context = signed_in(browser, site, Role.ADMIN)
        context.add_init_script(_LISTEN)
        opened = context.new_page()
        faults = {}
        for path in ("/", "/runs", "/compare", "/attacks", "/privacy", "/audits", "/system"):
            opened.goto(site.url + path)
            if found := faults_of(opened):
                faults[path] = found
        context.close()
    assert faults == {}


def test_charts_are_drawn_and_say_what_they_show(page: Page, site: Served) -> None:
    page.goto(f"{site.url}/runs/{run_ids(site.services.settings.home)['attacked']}")
    page.wait_for_selector(".plot canvas")
    figures = page.locator("[data-chart]")
    assert page.locator(".plot canvas").count() == figures.count() == 4
    for label in page.locator(".plot[role=img]").evaluate_all("all => all.map((each) => each.ariaLabel)"):
        assert " by round. " in label
    page.locator("summary", has_text="View as table").first.click()
    assert page.locator("[data-chart] table").first.is_visible()


def running(site: Served) -> RunRecord:
    """A run that this process drives, as far as its record can tell."""
    config = RunConfig(rounds=3, sites=2, model="light_cnn", grid="local")
    made: dict[str, Any] = {"command": ["tests"], "environment": {}}
    record = RunRecord.create(site.services.settings.home, ResolvedConfig(config, {}), **made)
    record.append("run-started", pid=os.getpid(), resumed_from_round=0, sites=["site-0", "site-1"], grid="local")
    record.append("round-started", round=1, sites=["site-0", "site-1"])
    return record


def test_an_open_page_shows_a_new_round_by_itself_and_the_end(page: Page, site: Served) -> None:
    record = running(site)
    page.goto(f"{site.url}/runs/{record.id}")
    page.wait_for_selector(".live[data-state=live]")
    assert "No round has finished yet" in page.inner_text("main")
    record.append("round-finished", round=1, loss=1.25, accuracy=0.625, accepted=["site-0", "site-1"], seconds=1.0)
    page.wait_for_selector("text=62.5 %")
    page.wait_for_selector(".plot canvas")
    record.append("round-finished", round=2, loss=1.0, accuracy=0.75, accepted=["site-0", "site-1"], seconds=1.0)
    page.wait_for_selector(".stat:has-text('75.0 %')")
    assert page.locator("[data-chart=''] tbody tr").count() == 4  # two charts of two rounds
    record.append("run-finished", status="succeeded", error=None)
    page.wait_for_selector(".live[data-state=ended]")
    page.wait_for_selector(".card .status:has-text('succeeded')")


def test_the_overview_shows_a_run_that_began_after_it_was_opened(page: Page, site: Served) -> None:
    page.goto(site.url)
    page.wait_for_selector(".live[data-state=live]")
    record = running(site)
    page.wait_for_selector(f".card h2 a:has-text('{record.id}')")
    record.append("run-finished", status="interrupted", error=None)
    page.wait_for_selector(f".notice:has-text('{record.id}')")


def test_keys_lead_to_pages_and_to_the_filter(page: Page, site: Served) -> None:
    page.goto(site.url)
    for keys, path in (("gp", "/privacy"), ("ga", "/attacks"), ("gr", "/runs")):
        for key in keys:
            page.keyboard.press(key)
        page.wait_for_url(site.url + path)
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "text"
    page.keyboard.type("gp")  # in a field, keys are letters
    assert page.input_value("#text") == "gp"
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("Escape")
    page.locator("#keys").wait_for(state="hidden")
    page.keyboard.press("n")
    page.wait_for_url(f"{site.url}/runs/new")


def test_the_form_tells_what_is_wrong_while_it_is_filled_in(page: Page, site: Served) -> None:
    page.goto(f"{site.url}/runs/new")
    page.fill("#rounds", "0")
    page.wait_for_selector("#rounds[aria-invalid=true]")
    assert page.inner_text("#rounds-error") == "Give a value between 1 and 100,000"
    page.fill("#rounds", "9")
    page.wait_for_selector(".copy code:has-text('--rounds 9')")
    assert page.inner_text("#rounds-error") == ""


def test_the_theme_is_kept_on_the_server(page: Page, site: Served) -> None:
    page.goto(f"{site.url}/runs")
    for theme in ("dark", "light", "auto"):
        page.locator(".side .foot button[name=theme]").click()
        page.wait_for_selector(f"html[data-theme={theme}]", state="attached")
