"""Documents for tests and screenshots: a clean run of five sites, one that leaked, and one that is nearly empty.

The numbers are made up, but of the size that a run of MobileNetV2 over five rounds has. The pictures are drawn here.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace

import numpy as np

from audit.findings import BlindSpot, Finding, Place
from audit.report.document import FORMAT, Document, judged
from audit.report.examination import (
    Capture,
    Control,
    Examination,
    Flow,
    Ledger,
    LedgerLine,
    Polarity,
    WireSession,
    examine,
)
from audit.report.limits import AUDITED, NOT_PROVEN, PAPER_PROCEDURE, THREAT_MODEL
from audit.report.measurements import (
    Bound,
    Inversion,
    Leakage,
    ManifestCheck,
    Membership,
    OperatingPoint,
    Outcome,
    Picture,
    Privacy,
    Reconstruction,
    RocPoint,
    Spending,
)
from audit.report.sections import (
    DataPart,
    Environment,
    Measure,
    Model,
    Refusal,
    Robustness,
    Run,
    Scope,
    Searches,
    SearchRow,
    Setting,
)

SITES = ("clinic-north", "clinic-south", "clinic-east", "clinic-west", "university")
ROUNDS = 5
UP, DOWN = "to-coordinator", "to-site"
HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)>\u202egnp.exe\x1b[31m\x00'


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def document(**changes: object) -> Document:
    """The clean run; `changes` replace whole sections. The verdict follows."""
    parts: dict[str, object] = {
        "run": Run(
            "20261124-184312-42eb", "Digits across five sites, ε = 8", "2026-11-24T18:43:12Z", 116.4,
            "five sites and a coordinator on one machine, deployment grid", SITES, ROUNDS,
        ),
        "scope": Scope(AUDITED, THREAT_MODEL, NOT_PROVEN),
        "examination": examination(),
        "searches": searches(),
        "privacy": privacy(),
        "leakage": leakage(),
        "robustness": robustness(),
        "model": model(),
        "environment": environment(),
        "attachments": (),
        **changes,
    }  # fmt: skip
    verdict = judged(parts["examination"], parts["privacy"], parts["leakage"])  # type: ignore[arg-type]
    return Document(format=FORMAT, verdict=verdict, **parts)  # type: ignore[arg-type]


def leaking(count: int = 7) -> Document:
    """Some sites sent what they must not, `count` times, and one session stayed closed."""
    seen = examination()
    sessions = tuple(replace(s, decrypted=s.id != "s0004") for s in seen.sessions)
    spots = (
        BlindSpot("tls/no-secret", "no secrets for this session: 412,003 bytes stay closed",
                  Place(session="s0004", site="clinic-west"), 412_003),
        BlindSpot("tcp/gap", "1,448 bytes of the stream are missing from the capture",
                  Place(session="s0002", site="clinic-south", direction=UP, unit="stream", offset=8_120_331), 1_448),
    )  # fmt: skip
    return document(
        examination=replaced(seen, sessions=sessions, findings=findings(count), blind_spots=spots),
        privacy=privacy(violated=True),
    )


def small() -> Document:
    """As little as a document can hold."""
    seen = examine(
        captures=(), sessions=(), ledger=Ledger(0, 0, ()), flows=(), findings=(), blind_spots=(), controls=()
    )
    blank = ManifestCheck(Outcome.NOT_TESTED, "", "", "")
    return document(
        run=Run("r", "t", "2026-11-24T00:00:00Z", 0.0, "none", (), 0),
        scope=Scope((), (), ("everything",)),
        examination=seen,
        searches=Searches("", "", ()),
        privacy=Privacy("", (), ()),
        leakage=Leakage("", (), (), blank),
        robustness=Robustness("mean", "none", (), ()),
        model=Model("m", "a", 1, "", "", "", "", (), (), "", 1, ()),
        environment=Environment({}, "", False, "", "", ()),
    )


def replaced(seen: Examination, **changes: object) -> Examination:
    """An examination with some parts changed and its verdict computed anew."""
    names = ("captures", "sessions", "ledger", "flows", "findings", "blind_spots", "controls")
    return examine(**{name: changes.get(name, getattr(seen, name)) for name in names})  # type: ignore[arg-type]


def examination() -> Examination:
    lines = [LedgerLine(site, way, *line) for site in SITES for way in (UP, DOWN) for line in _categories(way)]
    lines += [LedgerLine("controls", UP, name, size) for name, size in (("object/ArrayChunk", 61_440),
              ("tls/handshake", 9_120), ("tls/record", 2_310), ("http/head", 4_410))]  # fmt: skip
    captured = sum(line.bytes for line in lines)
    return examine(
        captures=(Capture("lo", 9092, "capture.pcap", 41_233, captured + 41_233 * 66, 0, 0, sha("capture"),
                          1_795_545_792.1, 1_795_545_908.5),),
        sessions=_sessions(),
        ledger=Ledger(captured, 0, tuple(lines)),
        flows=_flows(),
        findings=(),
        blind_spots=(),
        controls=controls(),
    )  # fmt: skip


def _categories(way: str) -> list[tuple[str, int]]:
    big = 8_955_432 * ROUNDS
    return [
        ("object/ArrayChunk", big if way == UP else big + 8_955_432), ("object/records", 18_320),
        ("flower/push-messages" if way == UP else "flower/pull-messages", 9_821), ("flower/heartbeat", 3_102),
        ("http/head", 141_200), ("tls/record", 62_240), ("tls/handshake", 3_480 if way == UP else 4_120),
    ]  # fmt: skip


def _sessions() -> tuple[WireSession, ...]:
    rows = [(f"s{n:04}", site, False) for n, site in enumerate(SITES, 1)] + [("s0006", "controls", True)]
    return tuple(
        WireSession(id, site, f"127.0.0.1:{50410 + n}", "127.0.0.1:9092", 1_795_545_793.0 + n, 1_795_545_907.0 + n,
                    77_360 if own else 45_015_595, 11_205 if own else 53_971_207, "TLS 1.3",
                    "TLS_AES_256_GCM_SHA384", (sha(site), sha("ca")), (sha("coordinator"), sha("ca")), True, own)
        for n, (id, site, own) in enumerate(rows)
    )  # fmt: skip


def _flows() -> tuple[Flow, ...]:
    rounds = ("join", *(str(number) for number in range(1, ROUNDS + 1)))
    return tuple(
        Flow(site, way, number, 21_000 if number == "join" else 8_955_432 + 4_000 * at + (70_000 if way == DOWN else 0),
             2 if number == "join" else 11)
        for at, site in enumerate(SITES) for way in (UP, DOWN) for number in rounds
    )  # fmt: skip


def controls() -> tuple[Control, ...]:
    rows = [
        ("jpeg", "a JPEG of 32 × 32 in an array", "image/jpeg"), ("png", "a PNG of 32 × 32 in an array", "image/png"),
        ("pixels", "a picture as raw bytes in an array", "pixels/u8-hwc"),
        ("floats", "a picture as normalised float32 in an array", "pixels/f32-chw"),
        ("base64", "a JPEG as base64 in a config value", "image/jpeg"),
        ("split", "a PNG over two messages", "image/png"), ("metric", "a metric of 3,000 letters", "schema/length"),
    ]  # fmt: skip
    found = [Control(name, Polarity.POSITIVE, sends, rule, True, f"{rule} in s0006") for name, sends, rule in rows]
    return (*found, Control("clean", Polarity.NEGATIVE, "an honest update", "silence", False, "nothing"))


def findings(count: int) -> tuple[Finding, ...]:
    kinds = [
        ("image/jpeg", "a JPEG picture of 32 × 32, complete with its end", "update/u", "array", 1_214, ()),
        ("image/png", "a PNG picture of 28 × 28 with valid checksums", "metrics/note", "value", 702, ("base64",)),
        ("pixels/u8-hwc", "2,352 floats that are a picture: 256 values, neighbours correlate by 0.93", "update/u",
         "array", 9_408, ()),
        ("image/known", "a picture of the site's own training images, encoding u8-hwc", "update/u", "array", 3_072,
         ("gzip", "base64")),
        ("schema/unknown-field", "field 14 of TaskIns is in no schema", "", "object", 3_104, ()),
    ]  # fmt: skip
    made = []
    for n in range(count):
        rule, text, path, unit, length, via = kinds[n % len(kinds)]
        site = SITES[(n * 2) % 3]
        place = Place(
            f"s{1 + (n * 2) % 3:04}", site, UP, str(1 + n % ROUNDS), sha(f"m{n}")[:16], path, unit, 4_096 * n + 17
        )
        made.append(Finding(rule, text, place, length, sha(f"evidence {n}"), via))
    return tuple(made)


def searches() -> Searches:
    rows = [
        ("the run itself", 0, "nothing", 0, "nothing"),
        ("a JPEG in an array", 0, "nothing: the capture is ciphertext", 1, "image/jpeg at offset 40,961 of the array"),
        ("a PNG in an array", 0, "nothing: the capture is ciphertext", 1, "image/png at offset 512 of the array"),
        ("a JPEG as base64 in a config value", 0, "nothing", 1, "image/jpeg through base64"),
        ("a picture as raw pixels", 0, "nothing: pixels have no header", 1, "pixels/u8-hwc, image/known"),
    ]
    return Searches(PAPER_PROCEDURE, sha("capture"), tuple(SearchRow(*row) for row in rows))


def privacy(*, violated: bool = False) -> Privacy:
    spent = tuple(
        Spending(site, "image", "DP-SGD, Poisson sampling, Gaussian noise", 0.82, 1.0, 0.1, 200, 1e-5, "PRV", 7.99)
        for site in SITES
    )
    gauss = "the noise is Gaussian and canary coordinates pass the same code as all others"
    bounds = [
        Bound("Gaussian mechanism", "all", 7.99, 10.31 if violated else 7.12, 0.999, None,
              Outcome.VIOLATED if violated else Outcome.CONSISTENT, "μ̂ = 2.41 over 5,000 canary coordinates", gauss),
        Bound("one run", "all", 7.99, 3.33, 0.95, None, Outcome.CONSISTENT, "2,391 of 2,500 guesses right",
              "nothing but independent coins for inclusion"),
        Bound("χ² of the noise", "all", None, None, None, 0.41, Outcome.CONSISTENT, "σ̂ = 0.8187, σ = 0.82",
              "the noise is Gaussian"),
        Bound("mislabelled canaries", "clinic-north", 7.99, None, None, None, Outcome.NOT_TESTED,
              "too few images to spare 200 of them", "the attacker chooses images, not coordinates"),
    ]  # fmt: skip
    return Privacy("Each image has (8, 10⁻⁵)-differential privacy against all who see updates or models.", spent,
                   tuple(bounds))  # fmt: skip


def leakage() -> Leakage:
    return Leakage(
        "Measured on the final model and on one update of clinic-north.",
        (
            membership("loss threshold", 0.547, "the attacker knows the loss on the candidate"),
            membership("RMIA, 2 reference models", 0.618, "and has images from the same population"),
        ),
        (inversion(),),
        ManifestCheck(Outcome.CONSISTENT, sha("spec"), sha("spec"), "314 tensors, names, shapes and first weights"),
    )


def membership(name: str, auc: float, assumes: str) -> Membership:
    exponent = (1 - auc) / auc
    grid = [0.0, *np.geomspace(5e-4, 1.0, 60).tolist()]
    points = tuple(RocPoint(round(x, 6), round(x**exponent, 6)) for x in grid)
    at = tuple(OperatingPoint(x, x**exponent, x**exponent * 0.7, x**exponent * 1.4) for x in (0.01, 0.001))
    return Membership(name, 1_438, 359, auc, auc - 0.021, auc + 0.02, points, at, assumes)


def inversion() -> Inversion:
    y, x = np.mgrid[0:32, 0:32]
    disc = np.hypot(x - 15.5, y - 13) < 9
    bars = (np.abs(x - 15.5) < 2) & (y > 20)
    clean = np.stack([np.where(disc | bars, 230, 24 + 3 * y), np.where(disc, 150, 40 + 4 * x), 90 + 2 * y], -1)
    rng = np.random.default_rng(7)

    def reconstruction(name: str, spread: float) -> Reconstruction:
        noisy = clean + rng.normal(0, spread, clean.shape) if spread < 200 else rng.uniform(0, 255, clean.shape)
        pixels = np.clip(noisy, 0, 255).astype(np.uint8)
        error = float(np.mean((pixels - clean.astype(float)) ** 2))
        return Reconstruction(name, Picture.of(32, 32, 3, pixels.tobytes()), round(10 * math.log10(255**2 / error), 1))

    rows = [("unprotected", 12.0), ("clipped only", 60.0), ("DP, ε = 8", 250.0)]
    return Inversion(
        "One update from one image, tanh_cnn",
        "a picture drawn for this purpose; no site's",
        Picture.of(32, 32, 3, clean.astype(np.uint8).tobytes()),
        tuple(reconstruction(*row) for row in rows),
        "batch of one, one step, no batch statistics, and the label is known: the attacker's best case",
    )


def robustness() -> Robustness:
    return Robustness(
        "nnm+trimmed_mean", "1 of 5 hostile sites, if the honest ones resemble each other",
        ("finite", "shape and type", "specification's digest", "norm ≤ 10,000", "signature", "freshness"),
        (Refusal("clinic-west", ("3",), "the update holds 12 values that are not finite"),),
    )  # fmt: skip


def model() -> Model:
    return Model(
        "digits-mobilenet-v2", "MobileNetV2, GroupNorm of 16, width 1.0, input 3 × 32 × 32", 2_236_682, sha("spec"),
        sha("before"), sha("after"), "recognise handwritten digits; a demonstration, not for use on people",
        ("trained on 1,438 images", "accuracy is lower for digits that one site alone holds"),
        (Measure("accuracy", "96.4 % of 359 images"), Measure("loss", "0.0983"), Measure("worst class", "8: 91.2 %")),
        "digits (1,797 images, Dirichlet α = 0.5)", 10,
        tuple(DataPart(site, 280 + 9 * at, sha(f"data {site}"), sha(f"root {site}")) for at, site in enumerate(SITES)),
    )  # fmt: skip


def environment() -> Environment:
    versions = {"secure-fl": "0.1.0", "flwr": "1.41.0", "torch": "2.15.0", "scapy": "2.8.0", "cryptography": "50.0.0",
                "hyperscan": "0.9.1", "python": "3.11.9", "openssl": "3.5.1"}  # fmt: skip
    settings = (Setting("sites", "5", "default"), Setting("rounds", "5", "flag"), Setting("dp-epsilon", "8", "preset"),
                Setting("defense", "nnm+trimmed_mean", "flag"))  # fmt: skip
    return Environment(versions, "bc50d42a6c0f4f0e9b6d1c7a", False, sha("lock"), "Linux 6.1, x86_64, 2 cores", settings)
