"""Curves by round, as the tables from which charts are drawn, and the sentence that says the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from secure_fl.runs import RoundRow, SiteRow

__all__ = ["Chart", "Curve", "accuracy_chart", "class_chart", "loss_chart", "site_chart", "spread_words"]

_MOST_SITES = 6


@dataclass(frozen=True)
class Curve:
    """One line: a value for each x of its chart, None where there is none. dashed: a limit or a baseline."""

    name: str
    values: tuple[float | None, ...]
    dashed: bool = False


@dataclass(frozen=True)
class Chart:
    """A figure: `unit` is "share" (shown in per cent) or "number"; `says` is what the picture shows, in a sentence."""

    id: str
    title: str
    x: tuple[int, ...]
    curves: tuple[Curve, ...]
    unit: str
    says: str
    x_name: str = "round"


def accuracy_chart(rounds: Sequence[RoundRow]) -> Chart:
    """Of the global model on the test images."""
    values = tuple(row.accuracy for row in rounds)
    says = f"Accuracy {_course(rounds, values, _percent)}"
    return Chart("accuracy", "Accuracy", _numbers(rounds), (Curve("accuracy", values),), "share", says)


def loss_chart(rounds: Sequence[RoundRow]) -> Chart:
    """Test loss, and the sites' mean training loss where they tell it."""
    test, train = tuple(row.loss for row in rounds), tuple(row.train_loss for row in rounds)
    curves = [Curve("test loss", test)]
    if any(each is not None for each in train):
        curves.append(Curve("training loss", train, dashed=True))
    return Chart("loss", "Loss", _numbers(rounds), tuple(curves), "number", f"Loss {_course(rounds, test, _number)}")


def site_chart(rounds: Sequence[RoundRow]) -> Chart | None:
    """Each site's accuracy on its own validation images with the model that it was sent; None where none tell it.

    Of many sites the widest apart are drawn: the three lowest and the three highest in the last round.
    """
    found: dict[str, dict[int, float]] = {}
    for row in rounds:
        for site in row.sites:
            if (value := _of_site(site)) is not None:
                found.setdefault(site.site, {})[row.round] = value
    if not found:
        return None
    ranked = sorted(found, key=lambda name: list(found[name].values())[-1])
    half = _MOST_SITES // 2
    shown = list(found) if len(found) <= _MOST_SITES else ranked[:half] + ranked[-half:]
    trained = [row for row in rounds if row.sites]
    curves = tuple(Curve(name, tuple(found[name].get(row.round) for row in trained)) for name in shown)
    low, high = ranked[0], ranked[-1]
    last = {name: list(found[name].values())[-1] for name in (low, high)}
    says = f"Lowest at the end: {low} with {_percent(last[low])}; highest: {high} with {_percent(last[high])}"
    if len(shown) < len(found):
        says += f"; the {half} lowest and {half} highest of {len(found)} sites are drawn"
    return Chart("sites", "Accuracy at the sites", _numbers(trained), curves, "share", f"{says}.")


def class_chart(rounds: Sequence[RoundRow], names: Sequence[str]) -> Chart | None:
    """Accuracy on the two classes that fare worst and the two that fare best at the end; None for one class or none."""
    last = rounds[-1].per_class_accuracy if rounds else ()
    ranked = sorted((each for each in range(len(last)) if last[each] is not None), key=lambda each: last[each] or 0.0)
    if len(ranked) < 2:
        return None
    shown = dict.fromkeys([*ranked[:2], *ranked[-2:]])
    label = {k: names[k] if k < len(names) else f"class {k}" for k in shown}
    curves = tuple(
        Curve(label[k], tuple(row.per_class_accuracy[k] if k < len(row.per_class_accuracy) else None for row in rounds))
        for k in shown
    )
    worst, best = ranked[0], ranked[-1]
    says = f"Worst class: {label[worst]}, {_percent(last[worst])}; best: {label[best]}, {_percent(last[best])}."
    return Chart("classes", "Accuracy by class: two worst, two best", _numbers(rounds), curves, "share", says)


def spread_words(values: Sequence[float]) -> str:
    """`from 82.1 % to 96.4 %`, or the one value there is."""
    low, high = min(values), max(values)
    return _percent(low) if low == high else f"from {_percent(low)} to {_percent(high)}"


def _of_site(site: SiteRow) -> float | None:
    received = site.received_validation_accuracy
    return site.validation_accuracy if received is None else received


def _numbers(rounds: Sequence[RoundRow]) -> tuple[int, ...]:
    return tuple(row.round for row in rounds)


def _course(rounds: Sequence[RoundRow], values: Sequence[float | None], say: Callable[[float | None], str]) -> str:
    there = [(row.round, value) for row, value in zip(rounds, values, strict=True) if value is not None]
    if not there:
        return "was not measured yet."
    (first, start), (last, end) = there[0], there[-1]
    if first == last:
        return f"is {say(end)} in round {last}."
    return f"went from {say(start)} in round {first} to {say(end)} in round {last}."


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
