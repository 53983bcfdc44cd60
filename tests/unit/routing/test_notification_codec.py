"""A notification's bytes are what the BSON library would have made of the contract's document."""

from datetime import UTC, datetime, timedelta
from typing import Any

import bson
from bson.codec_options import CodecOptions
from hypothesis import given
from hypothesis import strategies as st

from notify_streams.records.outcomes import DeliveryState, Reason
from notify_streams.records.periods import end_of_period, with_period_end
from notify_streams.records.person_slots import bucket_ms, kept_from_ms
from notify_streams.roles import CHANNELS
from notify_streams.routing.decision import ChannelDecision
from notify_streams.routing.notification_codec import NotificationEncoder
from tests.builders import NOON

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.just("x" * 1500) | st.just("\0\U0001f600")
PLANS = st.tuples(
    st.sampled_from(CHANNELS), st.sampled_from(list(DeliveryState)), st.none() | st.sampled_from(list(Reason))
).map(lambda parts: ChannelDecision(*parts))
CHANNEL_DECISIONS = st.lists(PLANS, max_size=3, unique_by=lambda planned: planned.channel).map(tuple)
DECISIONS = st.tuples(
    TEXTS,
    TEXTS,
    TEXTS,
    TEXTS,
    TEXTS,
    TEXTS,
    st.integers(0, 2**63 - 1),
    CHANNEL_DECISIONS,
    st.integers(0, 2**63 - 1),
    st.just({})
    | st.fixed_dictionaries({"copied_from": TEXTS, "origin_at": st.just(NOON), "hops": st.integers(0, 100)}),
)


def kept_from(period_end: datetime, bucket: int, user: str) -> datetime:
    first_ms = bucket_ms(bucket, int(period_end.timestamp()) * 1000, 3600)
    return datetime.fromtimestamp(kept_from_ms(first_ms, user.encode(), 3600) / 1000, UTC)


@given(
    bucket=st.integers(0, 2**31 - 1),
    region=TEXTS,
    critical=st.booleans(),
    now=st.integers(0, 10**12).map(lambda ms: NOON + timedelta(milliseconds=ms)),
    decisions=st.lists(DECISIONS, min_size=1, max_size=4),
)
def test_it_reads_as_the_contract_says(bucket: int, region: Any, critical: bool, now: datetime, decisions: Any) -> None:
    period_end = end_of_period(now, 3600)
    form = NotificationEncoder(bucket, region, critical, now, period_end, 3600)
    for (
        notification,
        trigger,
        user,
        system,
        source,
        category,
        version,
        channel_decisions,
        fingerprint,
        copy,
    ) in decisions:
        document = form.encode(
            notification,
            trigger,
            user.encode(),
            system,
            source,
            category,
            version,
            channel_decisions,
            fingerprint,
            17,
            round(now.timestamp() * 1000),
            copy,
        )
        found: dict[str, Any] = bson.decode(document.raw, CodecOptions(tz_aware=True))
        assert found == {
            "_id": notification,
            "bucket": bucket,
            "trigger_id": trigger,
            "user_id": user,
            "system": system,
            "category": category,
            "critical": critical,
            "lane": "critical" if critical else "standard",
            "region": region,
            "decided_at": now,
            "preference_version": version,
            "deliveries": {
                one.channel: {"state": one.state.value, "attempts": 0, "at": now}
                | ({} if one.reason is None else {"reason": one.reason.value})
                for one in channel_decisions
            },
            "fingerprint": fingerprint,
            "offset": 17,
            "entered_at": now,
            **({"source": source} if source else {}),
            **({"copy": copy} if copy else {}),
            "kept_from": kept_from(period_end, bucket, user),
            "period_end": period_end,
        }
        assert bson.encode(found) == document.raw
        later = end_of_period(now + timedelta(hours=2), 3600)
        assert with_period_end(document, later).raw == bson.encode(
            found | {"kept_from": kept_from(later, bucket, user), "period_end": later}
        )
