"""The page's sections on privacy spent and on what the model and its updates give away."""

from __future__ import annotations

from audit.report.figures import bound_chart, roc_chart
from audit.report.markup import Markup, element, hashed, joined, table
from audit.report.measurements import Inversion, Leakage, Membership, Outcome, Picture, Privacy
from audit.report.png import data_uri
from audit.report.words import epsilon, number, percent, probability

__all__ = ["leakage_parts", "outcome_mark", "privacy_parts"]

_MARKS = {
    Outcome.CONSISTENT: ("✓", "good"),
    Outcome.VIOLATED: ("✕", "bad"),
    Outcome.NOT_TESTED: ("–", "soft"),
}


def outcome_mark(outcome: Outcome) -> Markup:
    """`✓ consistent`, in its colour."""
    sign, kind = _MARKS[outcome]
    return element("span", {"class": kind}, f"{sign} {outcome.value}")


def privacy_parts(privacy: Privacy) -> list[Markup]:
    """Section 6: what the accountant says, and beside it what was proved to be spent."""
    parts = [element("p", None, privacy.note)] if privacy.note else []
    if privacy.spent:
        rows = [
            (
                each.site, f"one {each.unit}", each.mechanism, number(each.noise_multiplier), number(each.clip),
                number(each.sample_rate), f"{each.steps:,}", number(each.delta), each.accountant,
                element("b", None, epsilon(each.epsilon)),
            )
            for each in privacy.spent
        ]  # fmt: skip
        head = ("site", "protects", "mechanism", "#σ", "#C", "#q", "#T", "#δ", "accountant", "#ε")
        parts.append(table("Upper bounds: the sites' ledgers as an accountant reads them", head, rows))
    if not privacy.bounds:
        return [*parts, element("p", {"class": "soft"}, "No empirical test was made.")]
    if any(each.lower is not None and each.claimed is not None for each in privacy.bounds):
        parts.append(element("div", {"class": "figures"}, bound_chart(privacy.bounds)))
    bounds = [
        (
            each.test, each.site, "–" if each.claimed is None else epsilon(each.claimed),
            "–" if each.lower is None else f"≥ {epsilon(each.lower)}",
            "–" if each.confidence is None else percent(each.confidence),
            "–" if each.p_value is None else probability(each.p_value),
            outcome_mark(each.outcome), each.detail, each.assumes,
        )
        for each in privacy.bounds
    ]  # fmt: skip
    titles = ("test", "site", "#claimed ε", "#proved ε", "#confidence", "#p", "outcome", "measured", "assumes")
    text = (
        "A lower bound far below the claim does not show that the claim is right; a lower bound above it shows that it "
        "is wrong. Each bound holds under its assumption only."
    )
    return [*parts, table("Lower bounds: what was measured", titles, bounds, "words"), element("p", None, text)]


def leakage_parts(leakage: Leakage) -> list[Markup]:
    """Section 7."""
    parts = [element("p", None, leakage.note)] if leakage.note else []
    parts += [element("h3", None, "Who was in the training data?"), *_membership(leakage.memberships)]
    parts.append(element("h3", None, "Can a picture be drawn from an update?"))
    parts += [_inversion(each) for each in leakage.inversions] or [_not_tested()]
    check = leakage.manifest
    terms = {
        "Outcome": outcome_mark(check.outcome),
        "Signed": hashed(check.expected_sha256),
        "Seen on the wire": hashed(check.seen_sha256),
        "Compared": check.detail or "–",
    }
    pairs = (joined(element("dt", None, term), element("dd", None, text)) for term, text in terms.items())
    return [*parts, element("h3", None, "Did the server send the model that it promised?"), element("dl", None, *pairs)]


def _membership(attacks: tuple[Membership, ...]) -> list[Markup]:
    if not attacks:
        return [_not_tested()]
    rates = sorted({point.fpr for each in attacks for point in each.at}, reverse=True)
    rows = [
        (
            each.attack, f"{each.members:,} / {each.non_members:,}",
            f"{each.auc:.3f} ({each.auc_low:.3f}–{each.auc_high:.3f})", *(_operating(each, rate) for rate in rates),
            each.assumes,
        )
        for each in attacks
    ]  # fmt: skip
    head = (
        "attack",
        "#members / others",
        "#AUC (95 %)",
        *(f"#TPR at {percent(rate)} FPR" for rate in rates),
        "assumes",
    )
    smallest = max(min((p.fpr for each in attacks for p in each.points if p.fpr > 0), default=0.001), 1e-4)
    charts = [roc_chart("ROC", attacks, None), roc_chart("ROC, both axes logarithmic", attacks, _decade(smallest))]
    keys = (element("li", None, _key(at), each.attack) for at, each in enumerate(attacks))
    return [
        element("div", {"class": "figures squares"}, *charts),
        element("ul", {"class": "legend"}, *keys, element("li", {"class": "soft"}, "dotted: guessing")),
        table("Membership inference on the final model", head, rows, "words"),
    ]


def _operating(attack: Membership, rate: float) -> str:
    found = next((point for point in attack.at if point.fpr == rate), None)
    return "–" if found is None else f"{percent(found.tpr)} ({percent(found.low)}–{percent(found.high)})"


def _decade(value: float) -> float:
    """The power of ten at or below a rate: 0.0005 gives 0.0001."""
    floor = 1.0
    while floor > value * 1.000001:
        floor /= 10
    return floor


def _key(at: int) -> Markup:
    line = element("path", {"class": f"line s{min(at, 7)}", "d": "M1 5L29 5"})
    return element("svg", {"class": "key", "viewBox": "0 0 30 10", "aria-hidden": "true"}, line)


def _inversion(inversion: Inversion) -> Markup:
    shown = [_picture("original", inversion.original, inversion.source)]
    for each in inversion.reconstructions:
        quality = "PSNR not finite" if each.psnr_db is None else f"PSNR {each.psnr_db:.1f} dB"
        shown.append(_picture(each.protection, each.picture, quality))
    caption = element(
        "figcaption", None, element("b", None, inversion.title), element("span", None, f"Assumes: {inversion.assumes}")
    )
    return element("figure", None, caption, element("div", {"class": "pictures"}, *shown))


def _picture(title: str, picture: Picture, below: str) -> Markup:
    source = {"src": data_uri(picture), "alt": f"{title}: {below}", "width": picture.width, "height": picture.height}
    words = joined(element("b", None, title), element("br"), element("span", {"class": "soft"}, below))
    return element("div", None, element("img", source), words)


def _not_tested() -> Markup:
    return element("p", {"class": "soft"}, "Not tested in this audit.")
