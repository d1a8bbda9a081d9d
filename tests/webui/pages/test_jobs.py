"""/jobs: what was ordered can be looked at afterwards, by those who may know."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.webui.conftest import Browser
from tests.webui.pages.test_pages import text_of
from webui.orders import order
from webui.services import Services
from webui.store.jobs import Job, JobState
from webui.store.users import Role
from webui.worker.loop import job_folder


def ended(services: Services, owner: Browser, kind: str, wish: dict[str, Any], **envelope: Any) -> Job:
    """A job that the worker would have left behind, with what its process printed last."""
    made = order(kind, wish, services.settings.home)
    assert owner.user is not None
    job = services.jobs.submit(owner.user, made.kind, made.title, made.request)
    services.jobs.claim([kind])
    folder = job_folder(services.settings, job.id)
    folder.mkdir(parents=True)
    (folder / "stdout.jsonl").write_text(json.dumps({"terminal": True, **envelope}) + "\n", encoding="utf-8")
    (folder / "stderr.log").write_text("round 1\n<b>\u202elast words\n", encoding="utf-8")
    ok = envelope["status"] == "ok"
    services.jobs.finish(job.id, JobState.SUCCEEDED if ok else JobState.FAILED, int(not ok), envelope.get("why", ""))
    return services.jobs.get(job.id)


def test_a_replay_shows_what_came_out_under_each_defense(services: Services, client_as: Callable[..., Browser]) -> None:
    operator = client_as(Role.OPERATOR)
    result = {"accuracy": 0.9582, "attack_success": None, "kept_attackers": 0.25, "metrics_sha256": "ab" * 32}
    results = [{"defense": "mean", **result}, {"defense": "median", **result}]
    job = ended(services, operator, "replay", {"scenario": "one-nan"}, status="ok", data={"results": results})
    text = text_of(operator, f"/jobs/{job.id}")
    assert "95.8 %" in text and "25.0 %" in text and "abababab" in text
    assert "secure-fl replay one-nan" in text
    assert f"/jobs/{job.id}" in operator.get("/jobs").get_data(as_text=True)


def test_a_comparison_leads_to_its_matrix_and_another_one_to_another(
    services: Services, client_as: Callable[..., Browser]
) -> None:
    operator = client_as(Role.OPERATOR)
    names = set()
    for rounds, seeds in ((2, 1), (3, 1), (2, 9)):
        wish = {"attacks": ["sign_flip"], "defenses": ["median"], "rounds": rounds, "seeds": seeds}
        job = ended(services, operator, "compare", wish, status="ok", data={})
        names.add(job.request["name"])
        assert f"/attacks/{job.request['name']}" in operator.get(f"/jobs/{job.id}").get_data(as_text=True)
    assert len(names) == 2  # with more seeds it goes on where it was


def test_a_failed_job_says_why_and_its_last_words_steer_nothing(
    services: Services, client_as: Callable[..., Browser]
) -> None:
    operator = client_as(Role.OPERATOR)
    job = ended(services, operator, "run", {"settings": {}}, status="error", why="no <i>disk</i>")
    page = client_as(Role.VIEWER).get(f"/jobs/{job.id}").get_data(as_text=True)
    assert "no &lt;i&gt;disk" in page and "last words" in page
    assert "<b>\u202e" not in page and "\u202e" not in page
    assert "Cancel" not in page  # it is over, and a viewer may not


def test_what_an_audit_said_is_for_readers_of_audits(
    services: Services, run_id: str, client_as: Callable[..., Browser]
) -> None:
    auditor = client_as(Role.AUDITOR)
    job = ended(services, auditor, "audit", {"run_id": run_id, "what": "scan"}, status="ok", data={})
    assert auditor.get(f"/jobs/{job.id}").status_code == 200
    assert client_as(Role.VIEWER).get(f"/jobs/{job.id}").status_code == 404
    assert client_as(Role.VIEWER, "other").get("/jobs/no-such").status_code == 404
