"""What is drawn for programs and for paper: SARIF, the ML-BOM, PNG, PDF and the terminal's summary."""

from __future__ import annotations

import io
import json
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from audit.report.document import Document
from audit.report.measurements import Picture
from audit.report.mlbom import ml_bom
from audit.report.pdf import NO_PDF, Pdf, chromium, make_pdf, plain_pdf, printed_pdf
from audit.report.png import png
from audit.report.sarif import sarif
from audit.report.shape import canonical, from_mapping
from audit.report.summary import summary_lines
from tests.audit.report import example
from tests.audit.report.test_page import hostile

CLEAN, LEAKING, SMALL = example.document(), example.leaking(), example.small()
HOSTILE = from_mapping(Document, hostile(LEAKING.to_mapping()))


@pytest.mark.parametrize("document", [CLEAN, LEAKING, SMALL, HOSTILE], ids=["clean", "leaking", "small", "hostile"])
def test_sarif_has_what_its_schema_requires(document: Document) -> None:
    # The required properties and patterns of sarif-schema-2.1.0.json for the objects that we write.
    log = json.loads(canonical(sarif(document)))
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"]
    rules = driver["rules"]
    assert len({rule["id"] for rule in rules}) == len(rules)
    assert all(rule["shortDescription"]["text"] for rule in rules)
    assert isinstance(run["invocations"][0]["executionSuccessful"], bool)
    assert all(re.fullmatch(r"[\w.%/-]+", each["location"]["uri"]) for each in run["artifacts"])
    for result in run["results"]:
        assert result["message"]["text"]
        assert result["level"] in ("none", "note", "warning", "error")
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        (location,) = result["locations"]
        assert location["logicalLocations"][0]["fullyQualifiedName"]
        assert location["physicalLocation"]["artifactLocation"]["index"] < len(run["artifacts"])
        assert all(isinstance(value, str) for value in result["partialFingerprints"].values())
        shown = [result["message"]["text"], location["logicalLocations"][0]["fullyQualifiedName"], result["ruleId"]]
        assert all(text.isprintable() for text in shown)


def test_sarif_names_site_round_message_and_offset_of_each_finding() -> None:
    (run,) = sarif(LEAKING)["runs"]
    errors = [each for each in run["results"] if each["level"] == "error"]
    assert len(errors) == len(LEAKING.examination.findings)
    for result, finding in zip(errors, LEAKING.examination.findings, strict=True):
        place = result["properties"]["place"]
        assert (place["site"], place["round"], place["message"], place["offset"]) == (
            finding.place.site, finding.place.round, finding.place.message, finding.place.offset,
        )  # fmt: skip
    assert len(run["results"]) - len(errors) == len(LEAKING.examination.blind_spots)
    assert run["invocations"][0]["executionSuccessful"]
    assert not sarif(SMALL)["runs"][0]["invocations"][0]["executionSuccessful"]


@pytest.mark.parametrize("document", [CLEAN, LEAKING, SMALL, HOSTILE], ids=["clean", "leaking", "small", "hostile"])
def test_the_bom_is_valid_cyclonedx(document: Document) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(canonical(ml_bom(document)).decode())
    assert error is None, str(error)[:400]


def test_the_bom_names_model_data_and_libraries() -> None:
    bom = ml_bom(CLEAN)
    model = bom["metadata"]["component"]
    assert model["hashes"] == [{"alg": "SHA-256", "content": CLEAN.model.sha256_after}]
    kinds = [each["type"] for each in bom["components"]]
    assert (kinds.count("data"), kinds.count("library")) == (5, len(CLEAN.environment.versions) - 1)
    assert {each["ref"] for each in model["modelCard"]["modelParameters"]["datasets"]} == {
        f"data:{n}" for n in range(5)
    }
    assert ml_bom(CLEAN) == bom
    assert ml_bom(SMALL)["serialNumber"] != bom["serialNumber"]


@pytest.mark.parametrize(("width", "height", "channels"), [(32, 32, 3), (28, 28, 1), (1, 1, 1), (300, 200, 3)])
def test_a_png_holds_exactly_its_pixels(width: int, height: int, channels: int) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (height, width, channels), dtype=np.uint8)
    image = Image.open(io.BytesIO(png(Picture.of(width, height, channels, pixels.tobytes()))))
    image.load()
    assert (np.asarray(image).reshape(pixels.shape) == pixels).all()


@pytest.mark.skipif(chromium() is None, reason="no Chromium here")
def test_chromium_prints_the_page() -> None:
    content = printed_pdf(example.leaking(30))
    assert content.startswith(b"%PDF-")
    assert content.rstrip().endswith(b"%%EOF")


@pytest.mark.parametrize("document", [LEAKING, HOSTILE], ids=["leaking", "hostile"])
def test_a_pdf_is_made_without_a_browser_too(document: Document) -> None:
    pytest.importorskip("fpdf")
    content = plain_pdf(document)
    assert content.startswith(b"%PDF-")
    assert content.count(b"/Type /Page\n") > 2


def test_without_browser_and_library_it_is_said_that_there_is_no_pdf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "fpdf", None)
    assert make_pdf(SMALL) == Pdf(None, f"{NO_PDF.note}; printed by Chromium: no Chromium")


@pytest.mark.parametrize("document", [CLEAN, LEAKING, SMALL, HOSTILE], ids=["clean", "leaking", "small", "hostile"])
def test_the_summary_is_ten_plain_lines(document: Document) -> None:
    lines = summary_lines(document)
    assert len(lines) == 10
    assert lines[0].startswith(f"{document.verdict.value}  ")
    assert all(line.isprintable() for line in lines)


def test_the_summary_names_where_the_first_finding_was() -> None:
    assert any("image/jpeg from clinic-north → coordinator, round 1" in line for line in summary_lines(LEAKING))
    privacy = replace(LEAKING.privacy, spent=())
    assert any("none claimed" in line for line in summary_lines(replace(LEAKING, privacy=privacy)))
