"""`/audits`: what was audited, what was found and how that is known, and the files to check it elsewhere."""

from __future__ import annotations

from flask import Blueprint, render_template, send_file
from flask.typing import ResponseReturnValue

from audit.report.shape import ShapeError
from secure_fl.errors import IntegrityError
from webui.auth.trail import record
from webui.reading.audits import DOWNLOADS, audit_of, audits_of, bundle_file, gates_of, verification_of
from webui.services import services

__all__ = ["blueprint"]

blueprint = Blueprint("audits", __name__, url_prefix="/audits")


@blueprint.get("")
def index() -> ResponseReturnValue:
    """All audits, newest first."""
    return render_template("audits/index.html", audits=audits_of(services().settings.home))


@blueprint.get("/<id>")
def detail(id: str) -> ResponseReturnValue:
    """One audit: verdict, gates, findings, evidence, limits, files."""
    return _page(id)


@blueprint.post("/<id>/verify")
def verify(id: str) -> ResponseReturnValue:
    """Hold the bundle against its signature, and show the page with the outcome."""
    found = verification_of(services().settings.home, id)
    record("verify audit", "ok" if found.ok else "refused", object=id)
    return _page(id, verification=found)


@blueprint.get("/<id>/files/<name>")
def file(id: str, name: str) -> ResponseReturnValue:
    """A file of the bundle, as a download."""
    path = bundle_file(services().settings.home, id, name)
    return send_file(path, mimetype=DOWNLOADS[name], as_attachment=True, download_name=f"{id}-{name}")


def _page(id: str, **more: object) -> str:
    home = services().settings.home
    try:
        document = audit_of(home, id)
    except ShapeError as error:
        raise IntegrityError("the document of this audit cannot be read", why=str(error)) from None
    folder = home / "runs" / id / "audit"
    files = [(name, (folder / name).stat().st_size) for name in DOWNLOADS if (folder / name).is_file()]
    return render_template("audits/detail.html", id=id, it=document, gates=gates_of(document), files=files, **more)
