from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from secure_fl.data.cifar import open_cifar10
from secure_fl.data.cifar_download import OFFICIAL, Download
from secure_fl.data.source import DatasetPair
from secure_fl.errors import DataError
from tests.data.test_cifar import RECORDS, binary_version, check_binary, inside


class Mirror:
    """A copy of the archive on a server of this machine, which counts what is asked of it."""

    def __init__(self, archive: Path) -> None:
        self.asked = 0
        mirror = self

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.asked += 1
                super().do_GET()

            def log_message(self, *_: object) -> None:
                """Nothing: tests are read by their results."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(archive.parent)))
        self.download = Download(
            url=f"http://127.0.0.1:{self.server.server_port}/{archive.name}",
            md5=hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest(),
            folder="cifar-10-batches-bin",
        )


@pytest.fixture
def mirror(pack: Callable[..., Path]) -> Iterator[Mirror]:
    here = Mirror(pack(inside("cifar-10-batches-bin", binary_version()), "cifar-10-binary.tar.gz"))
    thread = threading.Thread(target=here.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield here
    here.server.shutdown()
    here.server.server_close()
    thread.join()


def opened(data_dir: Path, official: Download) -> DatasetPair:
    return open_cifar10(str(data_dir), download=True, skip_bad_images=False, official=official, records=RECORDS)


def test_what_is_missing_is_fetched_once_and_then_found(mirror: Mirror, tmp_path: Path) -> None:
    data_dir = tmp_path / "new" / "folder"
    check_binary(opened(data_dir, mirror.download))
    asked = mirror.asked
    check_binary(opened(data_dir, mirror.download))
    assert mirror.asked == asked > 0
    assert sorted(each.name for each in data_dir.iterdir()) == [".download.lock", "cifar-10-batches-bin"]


def test_of_sites_that_start_together_one_fetches(mirror: Mirror, tmp_path: Path) -> None:
    opened(tmp_path / "alone", mirror.download)
    alone, mirror.asked = mirror.asked, 0
    with ThreadPoolExecutor(4) as pool:
        pairs = [*pool.map(lambda _: opened(tmp_path / "together", mirror.download), range(4))]
    assert mirror.asked == alone
    assert len({pair.train.fingerprint() for pair in pairs}) == 1


def test_an_archive_with_another_checksum_is_turned_away(mirror: Mirror, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with pytest.raises(DataError, match=r"cannot download .*corrupted") as caught:
        opened(data_dir, replace(mirror.download, md5="0" * 32))
    assert "without a network" in caught.value.fix
    assert [each.name for each in data_dir.iterdir()] == [".download.lock"]


def test_an_archive_that_is_not_there_is_an_error(mirror: Mirror, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="404"):
        opened(tmp_path / "data", replace(mirror.download, url=mirror.download.url + "x"))


def test_without_a_network_the_error_offers_what_works_without_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot download https://www\.cs\.toronto\.edu") as caught:
        open_cifar10(str(tmp_path), download=True, skip_bad_images=False)
    assert "--dataset digits" in caught.value.fix and caught.value.exit_code == 2


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match="cannot download"):
        OFFICIAL.into(tmp_path / "file" / "folder")
