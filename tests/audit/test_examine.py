"""An examination searches what was sent as it was meant: arrays whole, values one after the other, numbers as bytes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ConfigRecord, MetricRecord
from PIL import Image

from audit.detect.rules import Masked
from audit.detect.schema import MessageRule, Schema
from audit.examine import Evidence, examine_wire
from audit.findings import Finding, Verdict
from tests.audit.decode.federation import Site, message
from tests.audit.decode.wire import PORT, packets

# Declares nothing, so that everything is a finding; these tests look at those of files only.
NOTHING = Schema(messages=(), request_headers={}, response_headers={}, objects=())


def png(side: int = 24) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def found(site: Site, folder: Path) -> list[Finding]:
    """What is found of pictures in what a site has said."""
    evidence = Evidence((), site.secrets, PORT, {}, NOTHING, ())
    spool = folder / "spool"
    spool.mkdir()
    seen = examine_wire(evidence, packets(site.frames()), spool=spool)
    assert seen.verdict is Verdict.FAIL and seen.ledger.unaccounted_bytes == 0
    return [each for each in seen.findings if each.rule.startswith("image/") and each.place.path]


@pytest.mark.parametrize("before", [980, 990, 996, 1000])
def test_a_file_across_two_chunks_of_an_array_is_found_where_it_begins(
    before: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE", "1000")
    monkeypatch.setattr("flwr.app.message.array.MAX_ARRAY_CHUNK_SIZE", 1000, raising=False)
    noise = np.random.default_rng(1).integers(0, 256, 4000, np.uint8)
    array = np.concatenate([noise[:before], np.frombuffer(png(), np.uint8), noise])
    site, reply = Site(tmp_path), message()
    reply.content["update"]["u"] = Array(array)
    site.push(reply)
    (finding,) = found(site, tmp_path)
    assert (finding.rule, finding.place.path, finding.place.offset) == ("image/png", "update/u", before)


@pytest.mark.parametrize("cut", range(1, 8))
def test_a_file_that_two_messages_carry_between_them_is_found_where_it_begins(cut: int, tmp_path: Path) -> None:
    site = Site(tmp_path)
    for group, part in (("3", png()[:cut]), ("4", png()[cut:])):
        reply = message(group=group)
        reply.content["claim"] = ConfigRecord({"debug": part})
        site.push(reply)
    (finding,) = found(site, tmp_path)
    assert (finding.rule, finding.place.round, finding.place.offset) == ("image/png", "3", 0)
    assert "over several messages" in finding.message


def test_a_file_in_a_text_is_found_though_the_wire_spells_it_otherwise(tmp_path: Path) -> None:
    site, reply = Site(tmp_path), message()
    reply.content["claim"] = ConfigRecord({"debug": png().decode("latin-1")})
    site.push(reply)
    assert {each.rule for each in found(site, tmp_path)} == {"image/png"}


def test_a_file_as_a_list_of_numbers_is_found(tmp_path: Path) -> None:
    site, reply = Site(tmp_path), message()
    reply.content["metrics"] = MetricRecord({"activations": list(png())})
    site.push(reply)
    assert {each.rule for each in found(site, tmp_path)} == {"image/png"}


def test_what_is_said_without_pictures_has_none(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.push(message())
    assert found(site, tmp_path) == []


MASKED = Schema(
    messages=(MessageRule("train", {"update/u": Masked("u4", (2_000,))}, "to-coordinator"),),
    request_headers={},
    response_headers={},
    objects=(),
)


def masking(site: Site, folder: Path) -> list[tuple[str, str]]:
    """What is found of masks, with the round."""
    spool = folder / "spool"
    spool.mkdir()
    seen = examine_wire(Evidence((), site.secrets, PORT, {}, MASKED, ()), packets(site.frames()), spool=spool)
    assert not [each for each in seen.blind_spots if each.rule.startswith("masking/")]
    return [(each.rule, each.place.round) for each in seen.findings if each.rule.startswith("masking/")]


def say(site: Site, round_: str, words: np.ndarray) -> None:
    reply = message(group=round_)
    reply.content["update"]["u"] = Array(words)
    site.push(reply)


def test_masked_arrays_are_judged_by_site_and_over_the_rounds(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    update = [rng.integers(0, 1_000, 2_000, np.uint32) for _ in range(4)]
    mask = [rng.integers(0, 2**32, 2_000, np.uint32) for _ in range(2)]
    site = Site(tmp_path)
    say(site, "1", update[0] + mask[0])
    say(site, "2", update[1] + mask[1])
    say(site, "3", update[2])
    say(site, "4", update[3] + mask[0])
    assert masking(site, tmp_path) == [("masking/unmasked", "3"), ("masking/reused", "4")]


def test_new_masks_over_the_wire_are_no_finding(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    site = Site(tmp_path)
    for round_ in "123":
        say(site, round_, rng.integers(0, 2**32, 2_000, np.uint32))
    assert masking(site, tmp_path) == []


def test_too_few_masked_words_to_judge_are_a_blind_spot(tmp_path: Path) -> None:
    site = Site(tmp_path)
    say(site, "1", np.zeros(100, np.uint32))
    (tmp_path / "spool").mkdir()
    evidence = Evidence((), site.secrets, PORT, {}, MASKED, ())
    seen = examine_wire(evidence, packets(site.frames()), spool=tmp_path / "spool")
    assert "masking/not-judged" in {each.rule for each in seen.blind_spots}
