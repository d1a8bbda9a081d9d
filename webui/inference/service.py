"""Which model answers: the approved one; without one, the newest run's, and then the page says so.

The file is compared with the hash that was approved, or that the run's record states, before it is loaded: what was
judged is what is served. A loaded model stays in memory until another one is to be served.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from pathlib import Path

from secure_fl.errors import IntegrityError, NotFoundError
from secure_fl.runs.record import runs_folder
from webui.inference.classifier import Classifier
from webui.reading.records import Records
from webui.store.serving import Promotion, Serving

__all__ = ["Model", "ModelService"]


@dataclass(frozen=True)
class Model:
    """A model in service. promotion: who let it in; None: nobody has, it is the newest run's."""

    run_id: str
    sha256: str
    classifier: Classifier
    promotion: Promotion | None


class ModelService:
    """Finds and keeps the model that is to be served. Safe to use from several threads."""

    def __init__(self, home: Path, records: Records, serving: Serving) -> None:
        self._home, self._records, self._serving = home, records, serving
        self._lock = threading.Lock()
        self._loaded: tuple[str, Classifier] | None = None

    def current(self) -> Model:
        """The model that answers now.

        Raises:
            NotFoundError: there is none yet. IntegrityError: its file is not the one that was approved or recorded.
            ModelFileError: it cannot be used.
        """
        promotion = self._serving.current()
        run_id, sha256 = (promotion.run_id, promotion.model_sha256) if promotion else self._newest()
        with self._lock:
            if self._loaded is None or self._loaded[0] != sha256:
                self._loaded = sha256, _classifier(runs_folder(self._home) / run_id / "model.safetensors", sha256)
            return Model(run_id, sha256, self._loaded[1], promotion)

    def model_sha256_of(self, run_id: str) -> str:
        """The hash of the model file that a finished run's record states.

        Raises:
            NotFoundError: no such run, or it has no model yet.
        """
        ended = [each for each in self._records.run(run_id).events if each.kind == "run-finished"]
        sha256 = ended[-1].get("model_file_sha256") if ended else None
        if not isinstance(sha256, str):
            raise NotFoundError(f"run {run_id} has no model", fix="wait until it has finished")
        return sha256

    def _newest(self) -> tuple[str, str]:
        for row in self._records.rows():
            attacked = row.status == "succeeded" and self._records.run(row.id).config.attack
            if row.status == "succeeded" and not attacked:
                return row.id, self.model_sha256_of(row.id)
        raise NotFoundError("there is no model yet", fix="train one: secure-fl run --preset demo")


def _classifier(file: Path, sha256: str) -> Classifier:
    try:
        found = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise NotFoundError(f"the model of run {file.parent.name} is gone", why=error.strerror or "") from None
    if found != sha256:
        raise IntegrityError(
            f"the model file of run {file.parent.name} was changed",
            why="its hash is not the one that was recorded",
            fix="restore the file, or approve another model",
        )
    return Classifier(file)
