"""The story as lines of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notify_streams.delivery.call_outcomes import DELIVERED_BEFORE
from notify_streams.records.outcomes import DeliveryState, TriggerOutcome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from notify_streams.admin.why.story import Attempt, Delivery, Entry, NextAttempt, Notification, OtherOutcome, Story


def story_lines(story: Story) -> list[str]:
    """What `notify-streams why` prints: notifications, dead letters, others, then the regions that did not answer."""
    lines: list[str] = []
    for one in story.notifications:
        lines += _notification(one)
    for other in (*story.dead_letters, *story.others):
        lines += _other(other)
    lines += [
        f"{one.region}: waits for its user, who is not known yet, in {one.topic} {one.partition}; next look {_time(one.due_at)}"
        for one in story.waiting
    ]
    asked = ", ".join(one.region for one in story.regions)
    if story.is_empty:
        what = {"trigger": "of trigger", "person": "of user", "provider_message": "of the provider's message"}[story.by]
        lines.append(f"no notification and no dead letter {what} {story.asked} (asked: {asked})")
    if story.more:
        lines.append("there are more: --limit shows more")
    lines += [f"region {one.region}: {problem}" for one in story.regions for problem in one.problems]
    return lines


def entry_words(entry: Entry) -> str:
    """``forwarded.standard 3:17, Kafka 2026-11-28T03:00:00.000Z, forwarded from us, 1 hop (triggers.payments:3:5)``."""
    offset = "?" if entry.offset is None else entry.offset
    parts = [f"{entry.topic} {entry.partition}:{offset}"]
    parts.append("Kafka's time not known" if entry.at is None else f"Kafka {_time(entry.at)}")
    if entry.copied_because == "forwarded":
        hops = f"{entry.hops} hop" + ("s" if entry.hops > 1 else "")
        parts.append(f"forwarded from {entry.origin_region or 'another region'}, {hops} ({entry.copied_from})")
    elif entry.copied_because is not None:
        why = "waited for its user" if entry.copied_because == "waited" else "repartitioned"
        parts.append(f"{why} ({entry.copied_from})")
    if entry.origin_at is not None and entry.origin_at != entry.at:
        parts.append(f"entered first {_time(entry.origin_at)}")
    if entry.replayed_from is not None:
        parts.append(f"replayed from dead letter {entry.replayed_from}")
    return ", ".join(parts)


def attempt_words(attempt: Attempt) -> str:
    """``2: retrying, twilio, 503, to +1•••42, took 34 ms, 2026-11-28T03:00:00.000Z, possible duplicate``."""
    name = "receipt" if attempt.kind == "receipt" else "answer" if attempt.kind == "answer" else ""
    parts = [name] if name else []
    parts += [one for one in (attempt.state, attempt.reason, attempt.provider, attempt.code) if one]
    if attempt.provider_id:
        parts.append(f"message {attempt.provider_id}")
    if attempt.to:
        parts.append(f"to {attempt.to}")
    if attempt.took_ms is not None:
        parts.append(f"took {attempt.took_ms} ms")
    if segments := attempt.segments:
        parts.append(f"{segments} segment" + ("s" if segments > 1 else ""))
    parts.append(_time(attempt.at))
    parts += ["in doubt"] * attempt.in_doubt
    parts += ["possible duplicate"] * attempt.possible_duplicate
    parts += ["replayed"] * attempt.replay
    if attempt.template_version:
        parts.append(f"template {attempt.template_version}")
    parts += [_device(one) for one in attempt.devices or ()]
    parts += ["a device has it from an earlier attempt"] * _is_of_earlier(attempt)
    return f"{attempt.number}: {', '.join(parts)}"


def next_words(timer: NextAttempt) -> str:
    """``next attempt 3 at 2026-11-28T03:00:00.000Z``."""
    if timer.under_way:
        return f"attempt {timer.number} is under way"
    if timer.may_have_begun:
        return (
            f"a worker ended while attempt {timer.number} may have been under way: "
            "the next owner repeats it, marked as a possible duplicate"
        )
    return f"next attempt {timer.number} at {_time(timer.due_at)}" + (", a replay" if timer.replay else "")


def other_words(one: OtherOutcome) -> str:
    """What became of a trigger that is no notification, in a sentence."""
    if one.outcome == TriggerOutcome.DEAD:
        place = f" {one.place}" if one.place else ""
        return f"dead letter{place}, {_time(one.at)}: {one.reason} ({one.detail})"
    if one.outcome == TriggerOutcome.FORWARDED:
        return f"forwarded to {one.to_region}, {_time(one.at)}"
    return f"duplicate of the same trigger, {_time(one.at)}: changed nothing"


def _notification(one: Notification) -> Iterator[str]:
    sender = f"{one.system} {one.source}".strip()
    yield (
        f"{one.notification_id}: {sender}, {one.category}, {one.lane}, user {one.user_id}, decided in {one.region} "
        f"{_time(one.decided_at)}, preferences version {one.preference_version}"
    )
    yield f"  entry: {entry_words(one.entry)}"
    for delivery in one.deliveries:
        yield from _delivery(delivery)


def _delivery(one: Delivery) -> Iterator[str]:
    yield f"  {one.channel:<6} {one.state}{f' ({one.reason})' if one.reason else ''}: {one.why}"
    if one.in_outbox_since is not None:
        yield f"         in the outbox since {_time(one.in_outbox_since)}, not published yet"
    if one.published_at is not None:
        yield f"         published {_time(one.published_at)}"
    for attempt in one.history:
        yield f"         {attempt_words(attempt)}"
    if one.next_attempt is not None:
        yield f"         {next_words(one.next_attempt)}"


def _other(one: OtherOutcome) -> Iterator[str]:
    yield f"{one.region}: {other_words(one)}"
    yield f"  entry: {entry_words(one.entry)}" + (f", user {one.user_id}" if one.user_id else "")
    for sentence in one.later:
        yield f"  later: {sentence}"


def _is_of_earlier(attempt: Attempt) -> bool:
    """Whether it ended a push as sent although no provider took it: one had before, for another device."""
    if attempt.kind == "receipt" or attempt.state != DeliveryState.SENT:
        return False
    if attempt.devices is None:
        if attempt.code == DELIVERED_BEFORE:
            return False
        return attempt.provider is None or (attempt.provider_id is None and attempt.took_ms is None)
    return all(one["outcome"] != "accepted" for one in attempt.devices)


def _device(device: dict[str, object]) -> str:
    """The answer about one device: ``device 1f0c22ab (apns) accepted HTTP 200 template de:1f0c22ab41e7``."""
    answer = f"{device['outcome']}" + (f" {device['code']}" if device["code"] else "")
    version = f" template {found}" if (found := device["template_version"]) else ""
    return f"device {device['token_sha']} ({device['provider']}) {answer}{version}"


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"
