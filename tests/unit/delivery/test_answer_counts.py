"""What an answer is counted as, and that no provider or sender can hide what others lead to: an alert reads these counts."""

from __future__ import annotations

from notify_streams import metrics
from notify_streams.delivery.answer_counts import AnswerCounts
from notify_streams.delivery.providers import ProviderOutcome, ProviderResult, unsendable
from notify_streams.delivery.providers.http_responses import HttpResponse
from notify_streams.delivery.providers.web_push import web_push_result

REFUSED = ProviderResult(
    outcome=ProviderOutcome.RETRY, provider="apns", detail="HTTP 403, code Forbidden", code="Forbidden"
)


def counted(provider: str, outcome: str, answer: str, code: str = "") -> float:
    found = metrics.REGISTRY.get_sample_value(
        "notify_provider_answers_total", {"provider": provider, "outcome": outcome, "answer": answer, "code": code}
    )
    return found or 0.0


def test_messages_of_many_sizes_are_one_kind() -> None:
    counts, before = AnswerCounts(), counted("fcm", "too_large", "too_large")
    for size in range(4097, 4597):
        counts.add(unsendable("fcm", ProviderOutcome.TOO_LARGE, f"{size} bytes, FCM takes 4096"))
    assert counted("fcm", "too_large", "too_large") == before + 500


def test_a_server_that_a_person_chose_hides_no_answer_of_another_provider() -> None:
    counts, before = AnswerCounts(), counted("apns", "retry", "HTTP 403", "Forbidden")
    for status in range(300, 1000):
        counts.add(web_push_result(HttpResponse(status, None, b"")))
    counts.add(REFUSED)
    assert counted("apns", "retry", "HTTP 403", "Forbidden") == before + 1
    assert counted("web_push", "retry", "other", "other") > 0, "its own are bounded"
