"""Metrics with their labels, log actions, variables and Kubernetes objects that a page names exist."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import yaml

from devtools.metrics_page import metrics_page
from devtools.stack.paths import PROJECT
from notify_streams.settings import Settings
from tests.console_blocks import blocks, commands_in_text, pages
from tests.unit.architecture.source_tree import module_files
from tests.unit.architecture.test_log_actions import actions
from tests.unit.docs.test_settings_pages import names

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROW: Final = re.compile(r"^\| `([a-z_]+)` \| (\w+) \| (.*) \| .+ \|$", re.MULTILINE)
#: Metric → its labels.
METRICS: Final = {name: set(re.findall(r"`(\w+)`", labels)) for name, _, labels in _ROW.findall(metrics_page())}
_HISTOGRAMS: Final = {name for name, kind, _ in _ROW.findall(metrics_page()) if kind == "histogram"}
SETTINGS: Final = set(names(Settings))
#: Of the program, the tests and a laptop: everything that reads a variable by its name.
_READS_VARIABLES: Final = ("notify_streams", "devtools", "tests", "compose.yaml", "Dockerfile", "Makefile")


def in_text(pattern: str) -> list[tuple[str, re.Match[str]]]:
    """Where a pattern is on the pages, in backquotes or in a block: the page's name, and what was found."""
    found = []
    for page in pages():
        lines = [*commands_in_text(page), *(one.text for one in blocks(page))]
        found += [(page.name, match) for line in lines for match in re.finditer(pattern, line)]
    return found


def test_a_metric_has_its_name_and_its_labels() -> None:
    found = in_text(r"(?<![\w/])(notify_\w+?)(_bucket|_sum|_count)?(?:\{([^}]*)\}|(?![\w/]))")
    named = [(page, one) for page, one in found if one[1] in METRICS or one[3] is not None or one[1].endswith("_total")]
    assert len(named) > 30
    for page, one in named:
        assert one[1] in METRICS, (page, one[0])
        assert one[2] is None or one[1] in _HISTOGRAMS, (page, one[0])
        labels = set(re.findall(r"(?:^|, ?)(\w+)(?==|,|$)", one[3] or ""))
        assert labels <= METRICS[one[1]], (page, one[0])


def test_a_log_action_is_one_that_the_code_writes() -> None:
    """Those of the table of beginnings and ends, and whatever is said to be in the log."""
    watch = (PROJECT / "docs/operate/watch.md").read_text()
    table = watch.split("| what | begin | end |")[1].split("\n\n")[0]
    written = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", re.sub(r"\(`[^)]*\)", "", table)))
    for page in pages():
        text = page.read_text()
        written |= set(re.findall(r"log (?:line|action) `([a-z_]+\.[a-z_]+)`|`([a-z_]+\.[a-z_]+)` in the log", text))
    found = {one if isinstance(one, str) else one[0] or one[1] for one in written}
    assert {"problem.begin", "retry.failing", "erasure.postpone"} <= found
    known = {action for file in module_files().values() for action, _ in actions(file)}
    assert found - known == set()


def test_a_variable_is_a_setting_or_is_read() -> None:
    found = in_text(r"\bNOTIFY_[A-Z0-9_]+")
    text = "\n".join(_sources())
    assert len(found) > 30
    for page, match in found:
        setting = match[0].removeprefix("NOTIFY_").lower().replace("__", ".")
        # Of a mapping: NOTIFY_REMOTE_KAFKA_SECURITY__<REGION>__USERNAME
        known = {setting, setting.removesuffix("_file"), setting.removesuffix(".")} & SETTINGS
        assert known or match[0] in text, (page, match[0])


def _sources() -> Iterator[str]:
    for name in _READS_VARIABLES:
        place = PROJECT / name
        files = [place] if place.is_file() else sorted(place.rglob("*.py"))
        yield from (file.read_text() for file in files if file.parent.name != "docs")


def test_an_object_of_kubernetes_is_in_the_manifests() -> None:
    objects = {
        (one["kind"].lower(), one["metadata"]["name"])
        for file in sorted((PROJECT / "k8s").rglob("*.yaml"))
        for one in yaml.safe_load_all(file.read_text())
        if isinstance(one, dict) and "metadata" in one
    }
    found = in_text(r"kubectl [^\n]*\b(deployment|deploy|statefulset|job)[/ ]([a-z][a-z-]+)")
    assert len(found) > 3
    for page, match in found:
        assert ({"deploy": "deployment"}.get(match[1], match[1]), match[2]) in objects, (page, match[0])
