"""docs/operate/metrics.md has each metric once, with its labels."""

import re

from prometheus_client.parser import text_string_to_metric_families

from devtools.metrics_page import FILE, metrics_page
from notify_streams import metrics

ROW = re.compile(r"^\| `([a-z_]+)` \| (\w+) \| (.*) \| (.+) \|$", re.MULTILINE)


def test_the_page_is_that_of_the_metrics() -> None:
    assert FILE.read_text() == metrics_page(), "write it anew: python -m devtools.metrics_page"


def test_each_metric_that_is_served_has_a_row_with_its_labels() -> None:
    metrics.TRIGGERS.labels("dead")
    rows = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels, _ in ROW.findall(metrics_page())}
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        if family.name.endswith("_created"):
            continue
        name = f"{family.name}_total" if family.type == "counter" else family.name
        kind, labels = rows.pop(name)
        assert kind == family.type
        assert all(sample.labels.keys() - {"le"} == labels for sample in family.samples), name
    assert rows == {}


def test_a_help_text_breaks_no_row() -> None:
    assert len(ROW.findall(metrics_page())) == metrics_page().count("\n| `")
