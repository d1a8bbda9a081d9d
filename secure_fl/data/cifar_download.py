"""Fetching CIFAR-10's binary version, by torchvision's downloader, only where the config allows it.

Site processes start together, so a lock file lets one fetch and the others wait. The archive is checked
against its published MD5 and unpacked in a folder of its own, which is then moved into place: a download
that broke off leaves nothing behind that could be taken for data.
"""

from __future__ import annotations

import fcntl
import tempfile
from dataclasses import dataclass
from pathlib import Path

from secure_fl.errors import DataError

__all__ = ["OFFICIAL", "Download"]


@dataclass(frozen=True)
class Download:
    """Where an archive is to be had, its MD5, and the one folder that it unpacks to."""

    url: str
    md5: str
    folder: str

    def into(self, data_dir: Path) -> None:
        """Leave `data_dir/<folder>` with the archive's content; nothing to do if it is there.

        Raises:
            DataError: no network, a wrong checksum, or a folder that cannot be written.
        """
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            with open(data_dir / ".download.lock", "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file is closed
                if not (data_dir / self.folder).is_dir():
                    self._fetch(data_dir)
        # RuntimeError is how torchvision says that the checksum differs.
        except (OSError, RuntimeError, EOFError) as error:
            raise DataError(
                f"cannot download {self.url} into {data_dir}",
                why=str(error),
                fix="without a network: put a copy of the archive, or class folders, there yourself and leave out "
                "--download; or use --dataset digits, which needs none",
            ) from error

    def _fetch(self, data_dir: Path) -> None:
        from torchvision.datasets.utils import download_and_extract_archive  # imports torch

        with tempfile.TemporaryDirectory(dir=data_dir, prefix=".download-") as aside:
            download_and_extract_archive(self.url, aside, md5=self.md5)
            (Path(aside) / self.folder).rename(data_dir / self.folder)


OFFICIAL = Download(
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    md5="c32a1d4ab5d03f1284b67883e8d87530",
    folder="cifar-10-batches-bin",
)
