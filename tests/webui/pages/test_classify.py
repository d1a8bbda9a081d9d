"""Classify from end to end, on the model of a real run: answers, refusals, remarks, and who lets a model in."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from secure_fl.models import load_model
from secure_fl.runs.record import runs_folder
from secure_fl.training.evaluation import classify
from tests.webui.conftest import Browser, run_ids
from webui.services import Services


@pytest.fixture
def run_id(recorded: Path, home: Path) -> str:
    """The only run in this test's home, so that its model is the newest."""
    id = run_ids(recorded)["plain"]
    shutil.copytree(runs_folder(recorded) / id, runs_folder(home) / id)
    return id


def png(size: int = 40) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").resize((size, size)).convert("RGB").save(out, "PNG")
    return out.getvalue()


def upload(data: bytes, name: str = "digit.png") -> dict[str, object]:
    return {"image": (io.BytesIO(data), name)}


def test_without_a_model_the_page_says_how_to_get_one(client_as: Callable[..., Browser]) -> None:
    browser = client_as("viewer")
    page = browser.get("/classify")
    assert page.status_code == 200
    assert "secure-fl run --preset demo" in page.text
    assert browser.post("/api/v1/predict", data=upload(png())).status_code == 404


def test_a_picture_gets_the_answer_that_the_model_gives(
    client_as: Callable[..., Browser], run_id: str, home: Path
) -> None:
    browser = client_as("viewer")
    said = browser.post("/api/v1/predict", data=upload(png())).json
    model, card = load_model(runs_folder(home) / run_id / "model.safetensors")
    from webui.security.uploads import admit

    pixels = admit("digit.png", png()).square(card.spec.image_size_px)
    (expected,) = classify(model, card, pixels[None], top_k=5)
    assert [each["label"] for each in said["guesses"]] == [each.label for each in expected]
    assert said["model"]["run_id"] == run_id
    assert said["model"]["approved_by"] is None
    assert said["image"]["width_px"] == 40
    assert "Nobody has approved" in browser.get("/classify").text


def test_a_program_may_send_the_bare_bytes(client_as: Callable[..., Browser], run_id: str) -> None:
    browser = client_as("viewer")
    in_a_form = browser.post("/api/v1/predict", data=upload(png())).json
    bare = browser.post("/api/v1/predict", data=png(), content_type="image/png").json
    assert bare["guesses"] == in_a_form["guesses"]
    assert bare["image"] == in_a_form["image"] | {"name": "picture.png"}
    for data, kind, status in (
        (png(), "image/jpeg", 415),
        (b"", "image/png", 422),
        (png(), "text/plain", 422),
        (bytes(9 * 2**20), "image/png", 413),
    ):
        assert browser.post("/api/v1/predict", data=data, content_type=kind).status_code == status, (kind, status)


@pytest.mark.parametrize(
    ("name", "data", "status"),
    [("page.jpg", b"<html>", 415), ("empty.png", b"", 422), ("cut.png", png()[:100], 422), ("../x.png", png(), 422)],
)
def test_a_bad_upload_is_a_problem_document(
    client_as: Callable[..., Browser], run_id: str, name: str, data: bytes, status: int
) -> None:
    answer = client_as("viewer").post("/api/v1/predict", data=upload(data, name))
    assert answer.status_code == status
    assert answer.mimetype == "application/problem+json"
    assert answer.json["title"]


def test_two_pictures_or_none_in_a_request_are_refused(client_as: Callable[..., Browser], run_id: str) -> None:
    browser = client_as("viewer")
    two = {"image": [(io.BytesIO(png()), "a.png"), (io.BytesIO(png()), "b.png")]}
    assert browser.post("/api/v1/predict", data=two).status_code == 422
    assert browser.post("/api/v1/predict", data={}).status_code == 422


def test_nine_megabytes_are_refused_before_they_are_read(client_as: Callable[..., Browser], run_id: str) -> None:
    assert client_as("viewer").post("/api/v1/predict", data=upload(bytes(9 * 2**20))).status_code == 413


def test_the_explanation_is_a_png_and_knows_only_the_models_classes(
    client_as: Callable[..., Browser], run_id: str
) -> None:
    browser = client_as("viewer")
    shown = browser.post("/api/v1/explain", data={**upload(png()), "label": "3"})
    assert shown.mimetype == "image/png"
    assert Image.open(io.BytesIO(shown.data)).size == (320, 320)
    assert browser.post("/api/v1/explain", data={**upload(png()), "label": "horse"}).status_code == 422


def test_a_remark_is_kept_without_the_picture(
    client_as: Callable[..., Browser], run_id: str, services: Services
) -> None:
    browser = client_as("viewer")
    said = browser.post("/api/v1/predict", data=upload(png())).json
    remark = {"image_sha256": said["image"]["sha256"], "predicted": said["guesses"][0]["label"], "actual": "7"}
    assert browser.post("/api/v1/flags", json=remark).status_code == 204
    (flag,) = services.flags.of_model(said["model"]["sha256"])
    assert (flag.actual, flag.image_sha256) == ("7", said["image"]["sha256"])
    assert png() not in services.settings.database.read_bytes()


@pytest.mark.parametrize(
    "remark",
    [[], {}, {"image_sha256": "x" * 64, "predicted": "1", "actual": "2"}, {"image_sha256": 3}, "text"],
)
def test_a_malformed_remark_is_refused(client_as: Callable[..., Browser], run_id: str, remark: object) -> None:
    assert client_as("viewer").post("/api/v1/flags", json=remark).status_code == 422


def test_one_proposes_another_approves_and_the_page_names_both(
    client_as: Callable[..., Browser], browser_of: Callable[..., Browser], make_user: Callable[..., object], run_id: str
) -> None:
    operator, auditor = client_as("operator", "olga"), client_as("auditor", "anna")
    operator.post("/models/propose", data={"run": run_id})
    assert "olga" in auditor.get("/models").text
    proposal = _proposal(auditor)
    assert operator.post(f"/models/{proposal}/approve", data={"version": "1"}).status_code == 403
    assert auditor.post(f"/models/{proposal}/approve", data={"version": "1"}).status_code == 302
    page = auditor.get("/classify").text
    assert "olga (proposed), anna (approved)" in page
    assert auditor.post(f"/models/{proposal}/approve", data={"version": "1"}).status_code == 409


def test_whoever_proposed_cannot_approve_after_a_change_of_role(
    client_as: Callable[..., Browser], services: Services, run_id: str
) -> None:
    from webui.store.users import Role

    turncoat = client_as("operator", "otto")
    turncoat.post("/models/propose", data={"run": run_id})
    assert turncoat.user is not None
    services.users.set_totp(turncoat.user.id, "JBSWY3DPEHPK3PXP", 0)
    services.users.set_role(turncoat.user.id, Role.AUDITOR, services.users.get(turncoat.user.id).version)
    refused = turncoat.post(f"/models/{services.serving.list()[0].id}/approve", data={"version": "1"})
    assert refused.status_code == 422
    assert services.serving.current() is None


def test_a_model_file_that_was_changed_is_not_served(
    client_as: Callable[..., Browser], run_id: str, home: Path
) -> None:
    file = runs_folder(home) / run_id / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    browser = client_as("viewer")
    assert browser.post("/api/v1/predict", data=upload(png())).status_code == 409
    assert "was changed" in browser.get("/classify").text


def test_an_unknown_run_or_proposal_is_not_found(client_as: Callable[..., Browser]) -> None:
    assert client_as("operator").post("/models/propose", data={"run": "../../etc"}).status_code == 404
    assert client_as("auditor").post("/models/nothing/approve", data={"version": "x"}).status_code == 404


def _proposal(browser: Browser) -> str:
    page = browser.get("/models").text
    return page.split('formaction="/models/')[1].split("/approve")[0]
