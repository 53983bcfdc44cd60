"""Writes docs/operate/metrics.md: all metrics of `notify_streams.metrics`.

`python -m devtools.metrics_page` writes it anew; a test compares it with the metrics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client.metrics import MetricWrapperBase

from devtools.stack.paths import PROJECT
from notify_streams import metrics, retry  # noqa: F401 - it registers a metric

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prometheus_client.core import Metric

FILE: Final = PROJECT / "docs" / "operate" / "metrics.md"
_HEAD: Final = """\
# Metrics
All metrics that `/metrics` of a worker serves, written from the code (`python -m devtools.metrics_page`). Times are in seconds.
A counter begins at 0 with its worker. A histogram has `_bucket`, `_sum` and `_count`.
[Watch](watch.md) says which of them alerts and the dashboard use. No label has a user id or a contact.

| metric | type | labels | meaning |
|---|---|---|---|
"""


def metrics_page() -> str:
    """The page: one row for each metric, by name."""
    found = {family.name: family for family in metrics.REGISTRY.collect()}
    # A family that a collector makes knows its labels itself.
    labels: dict[str, Sequence[str]] = {name: getattr(family, "_labelnames", ()) for name, family in found.items()}
    labels |= {
        family.name: one._labelnames
        for one in vars(metrics).values()
        if isinstance(one, MetricWrapperBase)
        for family in one.describe()
    }
    return _HEAD + "".join(_row(found[name], labels[name]) for name in sorted(found))


def _row(family: Metric, labels: Sequence[str]) -> str:
    name = f"{family.name}_total" if family.type == "counter" else family.name
    shown = ", ".join(f"`{label}`" for label in labels)
    return f"| `{name}` | {family.type} | {shown} | {family.documentation} |\n"


if __name__ == "__main__":
    FILE.write_text(metrics_page())
