"""When the mails of a category are paused, and what a worker takes for a paused category."""

import pytest

from notify_streams import metrics
from notify_streams.delivery.pauses import PausedCategories
from notify_streams.delivery.reputation import Rates
from notify_streams.settings import ReputationSettings


@pytest.mark.parametrize(
    ("rates", "excess"),
    [
        pytest.param(Rates(1000, 50, 1), None, id="at both limits"),
        pytest.param(Rates(1000, 51, 0), "bounce rate 5.10% of 1000 mails, limit 5.00%", id="bounces"),
        pytest.param(Rates(1000, 0, 2), "complaint rate 0.20% of 1000 mails, limit 0.10%", id="complaints"),
        pytest.param(Rates(999, 999, 999), None, id="too few mails"),
    ],
)
def test_a_category_is_above_a_limit(rates: Rates, excess: str | None) -> None:
    assert rates.excess(ReputationSettings()) == excess


def test_a_rate_of_one_is_no_limit() -> None:
    limits = ReputationSettings(bounce_rate=1.0, complaint_rate=1.0)
    assert Rates(1000, 1000, 1000).excess(limits) is None


def test_a_worker_knows_the_paused_categories_of_its_channel() -> None:
    paused = PausedCategories("email")
    value = metrics.REGISTRY.get_sample_value
    labels = {"channel": "email", "category": "offers:new"}
    paused.update(["smtp", "email:offers:new", "push:payments"])
    assert paused.names == {"offers:new"} and value("notify_category_paused", labels) == 1
    paused.update(["push:payments"])
    assert not paused.names and value("notify_category_paused", labels) == 0
