"""What cannot be started, and what is secret."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from secure_fl.errors import ConfigError
from tests.webui.conftest import BASE, Clock
from webui.app import create_app
from webui.settings import Settings, private_file


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "fl.example.org"])  # noqa: S104
def test_plain_http_stays_on_this_machine(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigError, match="--insecure-http"):
        Settings(home=tmp_path, host=host, insecure_http=True)
    assert not Settings(home=tmp_path, host=host).on_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_on_this_machine_it_is_allowed(tmp_path: Path, host: str) -> None:
    assert Settings(home=tmp_path, host=host, insecure_http=True).cookie_name == "sid"


def test_a_certificate_without_its_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="belong together"):
        Settings(home=tmp_path, certificate=tmp_path / "a.crt")


def test_secrets_are_made_once_and_for_their_owner_only(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    made = (settings.secret_keys(), settings.metrics_token(), settings.signing_key().private_bytes_raw())
    assert made == (settings.secret_keys(), settings.metrics_token(), settings.signing_key().private_bytes_raw())
    assert settings.folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in settings.folder.iterdir()} == {0o600}


def test_two_that_start_at_once_agree_on_a_secret(tmp_path: Path) -> None:
    seen: list[bytes] = []
    threads = [
        threading.Thread(target=lambda n=n: seen.append(private_file(tmp_path / "key", str(n).encode())))
        for n in range(8)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(set(seen)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_rotated_key_still_reads_what_the_one_before_it_signed(settings: Settings, clock: Clock) -> None:
    client = create_app(settings, clock=clock).test_client()
    client.get("/login", base_url=BASE)
    old = client.get_cookie("__Host-form", domain="localhost")
    assert old is not None
    for still_known in (True, False):
        settings.rotate_secret_key()
        app = create_app(settings, clock=clock)
        assert app.config["SECRET_KEY"] == settings.secret_keys()[0]
        with app.test_request_context("/", base_url=BASE, headers={"Cookie": f"__Host-form={old.value}"}):
            from flask import session

            assert bool(session) is still_known


def test_settings_cannot_be_changed_once_made(settings: Settings) -> None:
    with pytest.raises(AttributeError):
        settings.port = 1  # type: ignore[misc]
    assert replace(settings, port=1).port == 1
