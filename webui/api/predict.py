"""`/api/v1/predict`: one picture in, what the model says out; `/explain`: where it looked; `/flags`: where it erred.

Nothing of a picture is kept: it is decoded, answered and forgotten. A remark holds its fingerprint only.
"""

from __future__ import annotations

import hashlib
import time
from typing import Any

from flask import Blueprint, Response, g, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import FileStorage

from secure_fl.errors import ConfigError
from webui.auth.limits import by_user, limiter
from webui.auth.trail import record
from webui.inference.explain import grad_cam, overlay
from webui.inference.service import Model
from webui.security.uploads import UploadError, admit
from webui.services import services

__all__ = ["blueprint"]

blueprint = Blueprint("predict", __name__, url_prefix="/api/v1")
_PER_USER = "60 per minute"
_BARE = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp"}


@blueprint.post("/predict")
@limiter.limit(_PER_USER, key_func=by_user)
def answer() -> ResponseReturnValue:
    """The five best guesses on one picture (multipart field `image`, or the body)."""
    started = time.perf_counter()
    name, data = _the_picture()
    model = services().models.current()
    side = model.classifier.card.spec.image_size_px
    upload = admit(name, data, enough_px=2 * side)  # as training decoded it
    said = model.classifier.answer(upload.square(side))
    return jsonify(
        {
            "model": _about(model),
            "image": {
                "name": upload.name,
                "width_px": upload.width_px,
                "height_px": upload.height_px,
                "sha256": hashlib.sha256(data).hexdigest(),
            },
            "guesses": [{"label": each.label, "probability": each.probability} for each in said.guesses],
            "entropy": said.entropy,
            "margin": said.margin,
            "confidence": said.confidence,
            "model_ms": said.model_ms,
            "total_ms": 1e3 * (time.perf_counter() - started),
        }
    )


@blueprint.post("/explain")
@limiter.limit(_PER_USER, key_func=by_user)
def explain() -> ResponseReturnValue:
    """A PNG of the picture in grey, coloured where it spoke for the class of the field `label` (Grad-CAM)."""
    name, data = _the_picture()
    model = services().models.current()
    label = _known(model, request.form.get("label", ""))
    upload = admit(name, data)
    pixels = upload.square(model.classifier.card.spec.image_size_px)
    return Response(overlay(upload.image, grad_cam(model.classifier, pixels, label)), mimetype="image/png")


@blueprint.post("/flags")
@limiter.limit(_PER_USER, key_func=by_user)
def flag() -> ResponseReturnValue:
    """Remember that a guess was wrong: JSON with `image_sha256`, `predicted` and `actual`."""
    told = request.get_json()
    fields = ("image_sha256", "predicted", "actual")
    if not isinstance(told, dict) or not all(isinstance(told.get(each), str) for each in fields):
        raise ConfigError("a remark needs image_sha256, predicted and actual, each a text")
    model = services().models.current()
    digest = told["image_sha256"]
    if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise ConfigError("`image_sha256` is not a SHA-256 in hex")
    services().flags.add(
        g.user.id,
        model_sha256=model.sha256,
        image_sha256=digest,
        predicted=_known(model, told["predicted"]),
        actual=_known(model, told["actual"]),
    )
    record("flagged a guess", object=f"{digest[:12]}: {told['predicted']} is {told['actual']}")
    return "", 204


@blueprint.get("/models/current")
def current() -> ResponseReturnValue:
    """The model that answers, and who let it in."""
    return jsonify(_about(services().models.current()))


def _the_picture() -> tuple[str, bytes]:
    """Its name and bytes: from a form, as browsers send it, or the body itself, as programs may (and quicker)."""
    if kind := _BARE.get(request.mimetype):
        return f"picture.{kind}", request.get_data()
    request.max_form_parts = 20
    files = request.files.getlist("image")
    if len(files) != 1 or len(request.files) != 1:
        raise UploadError("send one picture, in the field `image`", http_status=422)
    picture: FileStorage = files[0]
    return picture.filename or "", picture.read()


def _known(model: Model, label: str) -> str:
    if label not in model.classifier.card.classes:
        raise ConfigError(f"the model knows no class {label[:60]!r}")
    return label


def _about(model: Model) -> dict[str, Any]:
    card, let_in = model.classifier.card, model.promotion
    return {
        "run_id": model.run_id,
        "sha256": model.sha256,
        "architecture": card.spec.architecture,
        "image_size_px": card.spec.image_size_px,
        "classes": list(card.classes),
        "round": card.round,
        "accuracy": card.extra.get("accuracy"),
        "dataset": card.extra.get("dataset"),
        "approved_by": let_in.decider if let_in else None,
        "proposed_by": let_in.proposer if let_in else None,
    }
