"""Pictures of every page for the docs: `python -m tools.screenshots HOME [NAME …]` writes docs/images/ui-*.png.

HOME is a home with some history: an attacked run under a defense, a private run, a comparison, an audit, and at best
a run under way, by `secure-fl serve` beside. Each page is taken in both themes and at 360 px, as far down as a person
sees without much scrolling, with few colours.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from PIL import Image, ImageDraw

from secure_fl.runs import RunStatus
from tools.served import Served, chromium, served, signed_in
from webui.store.users import Role

if TYPE_CHECKING:
    from playwright.sync_api import Page

__all__ = ["main", "page_paths", "small"]

_FOLDER = Path(__file__).resolve().parent.parent / "docs" / "images"
_LOOKS = (("light", 1280), ("dark", 1280), ("light", 360))
_HEIGHTS = {1280: 900, 360: 740}
_COLOURS = 160
_TABS = ("sites", "privacy", "security", "config", "log", "artifacts")


def main(arguments: Sequence[str] | None = None) -> int:
    """Take all pictures, or those of the named pages."""
    home, *names = sys.argv[1:] if arguments is None else arguments
    with served(Path(home).resolve()) as site, chromium() as browser:
        paths = page_paths(site)
        context = signed_in(browser, site, Role.ADMIN, "anna")
        page = context.new_page()
        page.set_default_timeout(120_000)  # the first picture that is classified loads torch, beside whatever runs
        for name in names or paths:
            for theme, width in _LOOKS:
                _take(page, site.url + paths[name], _FOLDER / f"ui-{name}-{theme}-{width}.png", theme, width)
        context.close()
    return 0


def page_paths(site: Served) -> dict[str, str]:
    """Where each page is, by the name that its pictures get; tabs of a run show the run that has most to show there."""
    records, home = site.services.records, site.services.settings.home
    runs = [records.run(row.id) for row in records.rows() if row.round > 0]
    defended = next((run for run in runs if run.config.attack and run.config.defense != "fedavg"), runs[0])
    private = next((run for run in runs if run.summary.start.get("privacy")), runs[0])
    active = next((run for run in runs if run.status == RunStatus.RUNNING), private)
    alike = [run for run in runs if run.config.sites == defended.config.sites][:4]
    jobs = [job for job in site.services.jobs.latest() if job.run_id]
    paths = {
        "overview": "/",
        "runs": "/runs",
        "new-run": "/runs/new?preset=private",
        "run": f"/runs/{active.id}",
        **{f"run-{tab}": f"/runs/{(private if tab == 'privacy' else defended).id}/{tab}" for tab in _TABS},
        "compare": f"/compare?run={'&run='.join(run.id for run in alike)}",
        "attacks": "/attacks",
        "privacy": "/privacy",
        "audits": "/audits",
        "classify": "/classify",
        "models": "/models",
        "jobs": "/jobs",
        **({"job": f"/jobs/{jobs[0].id}"} if jobs else {}),
        "system": "/system",
        "users": "/admin/users",
        "action-log": "/admin/log",
        "account": "/account",
    }
    for each in sorted((home / "comparisons").glob("*/report.json")):
        paths["attack-lab"] = f"/attacks/{each.parent.name}"
    for each in sorted((home / "runs").glob("*/audit/document.json")):
        paths["audit"] = f"/audits/{each.parent.parent.name}"
    return paths


def small(png: bytes) -> bytes:
    """The same picture in 256 colours: its most frequent ones exactly, and for gradients what lies between them."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    counted = picture.getcolors(picture.width * picture.height) or []
    frequent = [colour for _, colour in sorted(counted, key=lambda each: each[0], reverse=True)[:_COLOURS]]
    between = picture.quantize(256 - len(frequent), Image.Quantize.MEDIANCUT).getpalette() or []
    palette, kept = Image.new("P", (1, 1)), io.BytesIO()
    palette.putpalette([part for colour in frequent for part in cast(tuple[int, ...], colour)] + between)
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(kept, "PNG", optimize=True)
    return kept.getvalue()


def _take(page: Page, url: str, path: Path, theme: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": _HEIGHTS[width]})
    page.emulate_media(color_scheme="dark" if theme == "dark" else "light", reduced_motion="reduce")
    page.goto(url)
    if path.name.startswith("ui-classify"):
        _classify(page)
    page.wait_for_timeout(400)  # charts are drawn with the next frames
    page.evaluate("document.querySelector('.banner')?.remove()")  # that this server speaks plain HTTP
    path.write_bytes(small(page.screenshot(clip={"x": 0, "y": 0, "width": width, "height": _HEIGHTS[width]})))


def _classify(page: Page) -> None:
    """Give the page a picture, a seven, and wait until it was explained."""
    seven, out = Image.new("L", (240, 240)), io.BytesIO()
    ImageDraw.Draw(seven).line([(60, 50), (180, 50), (105, 200)], fill=255, width=34, joint="curve")
    seven.save(out, "PNG")
    page.set_input_files("#files", {"name": "seven.png", "mimeType": "image/png", "buffer": out.getvalue()})
    page.click("[data-why]")
    page.wait_for_selector("[data-heat][src^=blob]")


if __name__ == "__main__":
    sys.exit(main())
