"""Two rings: an hour of seconds, a day of tens."""

from __future__ import annotations

from webui.services import Services


def test_old_samples_go_and_the_rest_stays(services: Services) -> None:
    for time_s in (*range(0, 30), 3600 + 9, 3600 + 10, 86_400 + 5):
        services.samples.add(time_s, {"cpu": time_s})
    assert [each["time_s"] for each in services.samples.since(1, -1)] == [86_405]
    assert [each["time_s"] for each in services.samples.since(10, -1)] == [0, 10, 20, 3610]
    services.samples.add(86_410, {"cpu": 1.5})
    assert [each["time_s"] for each in services.samples.since(10, -1)] == [20, 3610, 86_410]
    assert services.samples.latest() == {"time_s": 86_410, "cpu": 1.5}
