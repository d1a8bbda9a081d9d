"""`python -m benchmarks.webui_peers.gradio_app MODEL PORT`: the image-to-label interface of Gradio's own tutorial.

The queue lets four pictures in at once (its default is one), as many as the measurement sends.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from benchmarks.webui_peers.answering import Answering

__all__ = ["serve"]


def serve(model: Path, port: int) -> None:
    """Serve until a signal ends it."""
    import gradio  # type: ignore[import-not-found,unused-ignore]

    answer: Any = Answering(model)
    page = gradio.Interface(answer, gradio.Image(type="pil"), gradio.Label(num_top_classes=5), api_name="predict")
    page.queue(default_concurrency_limit=4).launch(
        server_name="127.0.0.1", server_port=port, quiet=True, share=False, show_error=True
    )


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
