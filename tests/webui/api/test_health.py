"""What watchdogs see, and who may see more."""

from __future__ import annotations

from collections.abc import Callable

from flask import Flask

from tests.webui.conftest import BASE, Browser
from webui.services import Services


def test_anybody_learns_that_we_live_and_nothing_else(nobody: Browser, services: Services) -> None:
    assert nobody.get("/healthz").json == {"status": "ok"}
    assert nobody.get("/readyz").json == {"status": "ok", "database": "ok", "worker": "absent"}
    services.jobs.beat(1, 1.0)
    assert nobody.get("/readyz").json["worker"] == "ok"


def test_without_its_database_it_is_not_ready(nobody: Browser, services: Services) -> None:
    with services.database.writing() as connection:
        connection.execute("DROP TABLE workers")
    answer = nobody.get("/readyz")
    assert (answer.status_code, nobody.get("/healthz").status_code) == (503, 200)
    assert "workers" not in answer.text


def test_numbers_are_for_this_machine_or_for_the_token(app: Flask, services: Services) -> None:
    client, elsewhere = app.test_client(), {"REMOTE_ADDR": "192.0.2.7"}

    def ask(**more: object) -> int:
        return client.get("/metrics", base_url=BASE, **more).status_code

    token = services.settings.metrics_token()
    assert ask() == 200
    assert ask(environ_overrides=elsewhere) == 403
    assert ask(environ_overrides=elsewhere, headers={"Authorization": "Bearer wrong"}) == 403
    assert ask(environ_overrides=elsewhere, headers={"Authorization": "Basic eDp5"}) == 403
    assert ask(environ_overrides=elsewhere, headers={"Authorization": f"Bearer {token}"}) == 200


def test_the_numbers_are_in_the_form_that_prometheus_reads(
    nobody: Browser, client_as: Callable[..., Browser], run_id: str
) -> None:
    client_as("operator").post("/api/v1/runs", json={"preset": "smoke"})
    answer = nobody.get("/metrics")
    assert answer.mimetype == "text/plain"
    lines = answer.text.splitlines()
    assert 'secure_fl_jobs{state="queued"} 1' in lines
    assert 'secure_fl_runs{status="succeeded"} 1' in lines
    assert "secure_fl_worker_up 0" in lines
    assert 'secure_fl_requests_total{endpoint="api.start_run",status="202"} 1' in lines
    names = {line.split("{")[0].split(" ")[0] for line in lines if not line.startswith("#")}
    assert {line.split()[2] for line in lines if line.startswith("# TYPE")} == names
