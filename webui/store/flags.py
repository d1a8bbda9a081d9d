"""What people said was wrong: the guess, the truth, and a fingerprint of the picture; never the picture itself."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from webui.store.db import Database

__all__ = ["Flag", "Flags"]


@dataclass(frozen=True, slots=True)
class Flag:
    """One remark, by one user, about one picture under one model."""

    model_sha256: str
    image_sha256: str
    predicted: str
    actual: str
    created_s: float


class Flags:
    """The remarks."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database, self._clock = database, clock

    def add(self, user_id: str, *, model_sha256: str, image_sha256: str, predicted: str, actual: str) -> None:
        """Remember a remark; a second one of the same user about the same picture replaces the first."""
        with self._database.writing() as connection:
            connection.execute(
                "INSERT INTO flags (id, user_id, model_sha256, image_sha256, predicted, actual, created_s)"
                " VALUES (?,?,?,?,?,?,?) ON CONFLICT (user_id, model_sha256, image_sha256)"
                " DO UPDATE SET actual = excluded.actual, created_s = excluded.created_s",
                (str(uuid.uuid4()), user_id, model_sha256, image_sha256, predicted, actual, self._clock()),
            )

    def of_model(self, model_sha256: str) -> list[Flag]:
        """All remarks about one model, newest first."""
        rows = self._database.reading().execute(
            "SELECT model_sha256, image_sha256, predicted, actual, created_s FROM flags WHERE model_sha256 = ?"
            " ORDER BY created_s DESC",
            (model_sha256,),
        )
        return [Flag(**dict(row)) for row in rows]
