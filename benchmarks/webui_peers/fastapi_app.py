"""`python -m benchmarks.webui_peers.fastapi_app MODEL PORT`: POST /predict with a file, in FastAPI and uvicorn.

An ordinary function as its documentation recommends for work that blocks: it runs in the pool of threads. No login,
no token, no limits, nothing is checked: less work than ours has.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request
from PIL import Image
from starlette.concurrency import run_in_threadpool

from benchmarks.webui_peers.answering import Answering

__all__ = ["serve"]


def serve(model: Path, port: int) -> None:
    """Serve until a signal ends it."""
    app, answer = FastAPI(), Answering(model)

    @app.post("/predict")
    async def predict(request: Request) -> dict[str, float]:
        # The raw body: without python-multipart FastAPI takes no form, and this is faster than one.
        data = await request.body()
        return await run_in_threadpool(lambda: answer(Image.open(io.BytesIO(data))))

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
