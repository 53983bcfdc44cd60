"""When a delivery that was not accepted is tried again.

The horizon is the delivery's expiry, not a number of calls.

Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from notify_streams.roles import Channel, Lane

_MAX_EXPONENT: Final = 30


@dataclass(frozen=True, slots=True)
class RetryDelay:
    """The delays of one provider and lane, in seconds."""

    first_s: float
    factor: float
    max_s: float
    #: The shortest delay, whatever the draw.
    min_s: float
    #: The delay after "too many requests" without a time.
    throttled_s: float

    def paced(self, pace: float) -> RetryDelay:
        """The same with all delays multiplied by `pace`."""
        return replace(
            self,
            first_s=self.first_s * pace,
            max_s=self.max_s * pace,
            min_s=self.min_s * pace,
            throttled_s=self.throttled_s * pace,
        )

    def delay_s(
        self, failures: int, draw: float, retry_after_s: float | None = None, *, throttled: bool = False
    ) -> float:
        """The delay after the `failures`-th failed attempt (1 is the first).

        Args:
            draw: a random number in [0, 1).
            retry_after_s: the time that the provider asks for; used whole.
            throttled: the provider said "too many requests".
        """
        if retry_after_s is None and throttled:
            retry_after_s = self.throttled_s
        longest = min(self.max_s, self.first_s * self.factor ** min(failures - 1, _MAX_EXPONENT))
        delay_s = self.min_s + draw * max(0.0, longest - self.min_s)
        return delay_s if retry_after_s is None else max(delay_s, retry_after_s + draw * self.min_s)


#: FCM: "wait 10 s at least", "60 s after a 429 without `Retry-After`" (https://firebase.google.com/docs/cloud-messaging/scale-fcm).
_PUSH: Final = RetryDelay(first_s=20.0, factor=2.0, max_s=600.0, min_s=10.0, throttled_s=60.0)
_PUSH_CRITICAL: Final = RetryDelay(first_s=12.0, factor=2.0, max_s=60.0, min_s=10.0, throttled_s=60.0)
_SMS: Final = RetryDelay(first_s=4.0, factor=2.0, max_s=600.0, min_s=2.0, throttled_s=30.0)
_SMS_CRITICAL: Final = RetryDelay(first_s=3.0, factor=2.0, max_s=30.0, min_s=1.0, throttled_s=15.0)
#: A 4xx reply of SMTP is often greylisting, which ends after minutes (RFC 6647 §4.4).
_EMAIL: Final = RetryDelay(first_s=60.0, factor=2.0, max_s=1_800.0, min_s=20.0, throttled_s=60.0)
_EMAIL_CRITICAL: Final = RetryDelay(first_s=20.0, factor=2.0, max_s=120.0, min_s=10.0, throttled_s=30.0)

RETRY_DELAYS: Final[dict[tuple[Lane, Channel], RetryDelay]] = {
    ("standard", "push"): _PUSH,
    ("critical", "push"): _PUSH_CRITICAL,
    ("standard", "sms"): _SMS,
    ("critical", "sms"): _SMS_CRITICAL,
    ("standard", "email"): _EMAIL,
    ("critical", "email"): _EMAIL_CRITICAL,
}
