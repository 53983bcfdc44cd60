"""`notify-streams why`: what became of a trigger, over all regions."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import click
import msgspec

from notify_streams.cli.output import as_json, categories_of, print_result, region_option, run, settings_of
from notify_streams.errors import StoreUnavailable

if TYPE_CHECKING:
    from notify_streams.admin.why import Question, Story
    from notify_streams.registry.user import User
    from notify_streams.settings import Settings

#: For the places of dead letters in Kafka, without `--timeout`.
_PLACES_S: Final = 2.0


@click.command()
@click.argument("trigger_id", metavar="[SYSTEM/]ID", required=False)
@click.option("--user", "user_id", metavar="USER", help="The newest triggers for a person.")
@click.option("--provider-id", metavar="ID", help="By the id that a provider gave a message.")
@click.option(
    "--limit", default=10, show_default=True, type=click.IntRange(1, 100), help="Of a person: the newest so many."
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0.1, 600),
    metavar="SECONDS",
    help="Wait so long for each region, the registry and Kafka. Without it: 4 for the own region, about 1 for the others.",
)
@region_option
@as_json
def why(
    trigger_id: str | None,
    user_id: str | None,
    provider_id: str | None,
    limit: int,
    timeout_s: float | None,
    region: str,
    as_json: bool,
) -> None:
    """Show what became of a trigger, in all regions.

    Its entry, the rule for each channel, each attempt, timers, receipts and dead letters. While it has not ended, also what is wrong in the
    region. Exit 1 if nothing is known of it. A region that does not answer is named, and the rest is shown.
    """
    if [trigger_id, user_id, provider_id].count(None) != 2:
        raise click.UsageError("say one of: a trigger id, --user, --provider-id")
    if "" in (trigger_id, user_id, provider_id):
        raise click.UsageError("the id is empty")
    settings = settings_of(region)
    story, wrong = run(_ask(settings, _question(trigger_id, user_id, provider_id, limit), timeout_s), settings)
    found = {"holds": not story.is_empty, "wrong_now": wrong} | msgspec.to_builtins(story)
    print_result(as_json, found, _lines(story) + ([] if wrong is None else [f"now in {region}: {wrong}"]))
    raise SystemExit(1 if story.is_empty else 0)


def _lines(story: Story) -> list[str]:
    from notify_streams.admin.why import story_lines

    return story_lines(story)


def _question(trigger_id: str | None, user_id: str | None, provider_id: str | None, limit: int) -> Question:
    from notify_streams.admin.why import By, Question

    if trigger_id is not None:
        return Question(By.TRIGGER, trigger_id)
    return (
        Question(By.PERSON, user_id, limit) if user_id is not None else Question(By.PROVIDER_MESSAGE, provider_id or "")
    )


async def _ask(settings: Settings, question: Question, timeout_s: float | None) -> tuple[Story, str | None]:
    """The story, and what is wrong in the region if that may be why it has not ended."""
    from notify_streams.admin.why import ask, with_places
    from notify_streams.admin.why.ask import CONNECT_S, OWN_TIMEOUT_S, TIMEOUT_S, open_shards
    from notify_streams.web.verdict.one_look import wrong_now

    async def find_user(user_id: str) -> User | None:
        from notify_streams.registry.users_table import UsersTable

        table = UsersTable(settings)
        await table.start()
        try:
            return await table.get(user_id)
        finally:
            await table.close()

    regions = [settings.region, *(one for one in settings.regions if one != settings.region)]
    story = await ask(
        question,
        regions,
        settings_of,
        categories_of(),
        find_user,
        opened=partial(open_shards, connect_s=timeout_s or CONNECT_S),
        timeout_s=timeout_s or TIMEOUT_S,
        own_timeout_s=timeout_s or OWN_TIMEOUT_S,
    )
    if story.is_empty and story.regions[0].problems:
        raise StoreUnavailable("; ".join(story.regions[0].problems))
    wrong = await wrong_now(settings) if story.is_open else None
    if not story.dead_letters:
        return story, wrong
    places = await with_places(settings, story.dead_letters, timeout_s or _PLACES_S)
    return msgspec.structs.replace(story, dead_letters=places), wrong
