"""The program `notify-streams`: its verbs and their one-line help."""

from __future__ import annotations

import signal
from typing import Final

import click

from notify_streams import __version__
from notify_streams.cli.lazy_group import LazyGroup, Verb

VERBS: Final = {
    "audit": Verb("notify_streams.cli.audit:audit", "Compare MongoDB, Kafka and the providers' log."),
    "bench": Verb("devtools.benchmarks.command:bench", "Measure throughput and latency beside a baseline."),
    "chaos": Verb("devtools.chaos.command:chaos", "Kill processes under load, send hostile records, then audit."),
    "completion": Verb("notify_streams.cli.completion:completion", "Print the completion script of a shell."),
    "config": Verb("notify_streams.cli.config:config", "Check settings and categories."),
    "consent": Verb("notify_streams.cli.consent:consent", "Show a person's choices and what they allowed."),
    "dead-letters": Verb("notify_streams.cli.dead_letters:dead_letters", "Show dead letters, send them again."),
    "deliveries": Verb("notify_streams.cli.deliveries:deliveries", "Show deliveries by how they ended, replay them."),
    "demo": Verb("devtools.demo.command:demo", "Start a region, send triggers and show each step."),
    "doctor": Verb("notify_streams.cli.doctor:doctor", "Check everything of a region, one line each."),
    "failover": Verb("notify_streams.cli.failover:failover", "Change the region that serves a home region's users."),
    "faults": Verb("devtools.faults.command:faults", "Inject twelve faults; who names them, and how soon."),
    "ledger": Verb("notify_streams.cli.ledger:ledger", "Show what each role has counted, and the sealed sums."),
    "prefs": Verb("notify_streams.cli.prefs:prefs", "Read, change and import users' choices."),
    "providers": Verb(
        "notify_streams.cli.providers:providers", "Show, check, pause and resume the calls to providers."
    ),
    "registry": Verb("notify_streams.cli.registry:registry", "Create the table of users on AWS, print its policies."),
    "restore": Verb("notify_streams.cli.restore:restore", "Make a region that was restored from backups ready."),
    "run": Verb("devtools.run_region:run_region", "Run all workers of a region on this machine."),
    "send": Verb("notify_streams.cli.send:send", "Send triggers from a file of JSON lines."),
    "shards": Verb("notify_streams.cli.shards:shards", "Prepare, check and move MongoDB shards."),
    "stack": Verb("devtools.stack_command:stack", "Start and stop the local stack."),
    "tables": Verb("notify_streams.cli.tables:tables", "Publish the rows of durable records again."),
    "templates": Verb("notify_streams.cli.templates:templates", "Check templates, show how they read."),
    "topics": Verb("notify_streams.cli.topics:topics", "Create and check the region's Kafka topics."),
    "users": Verb("notify_streams.cli.users:users", "Add users, move them, show and erase them."),
    "why": Verb("notify_streams.cli.why:why", "Explain what became of a trigger."),
    "worker": Verb("notify_streams.cli.worker:worker", "Run one worker of a role."),
}


@click.group(cls=LazyGroup, verbs=VERBS)
@click.version_option(__version__)
def main() -> None:
    """A multi-region notification system in which every trigger ends in exactly one accounted outcome."""
    # As Ctrl-C: a verb stops the services and workers that it has started. Workers have handlers of their own.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
