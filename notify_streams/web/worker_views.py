"""The views that every worker has, by path.

They answer from values that a worker's loops keep, so that no client delays its work. Each worker imports this module at its start, so it
stays clear of what only the views of a region need (`region_views`): the clients of the registry and of providers, pages and runbooks took
a third of the CPU time of a start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from faust import web

from notify_streams.web.health import Live, Ready
from notify_streams.web.lag import Lag
from notify_streams.web.metrics import Metrics
from notify_streams.web.summary_view import SummaryView

if TYPE_CHECKING:
    from collections.abc import Mapping

    from notify_streams.web.responses import WebView

#: Of every role. `/` is the summary, or the page of the region.
COMMON_VIEWS: Final[dict[str, type[WebView]]] = {"/live": Live, "/ready": Ready, "/metrics": Metrics, "/lag": Lag}
#: Of every role but `views`.
WORKER_VIEWS: Final[dict[str, type[WebView]]] = {"/": SummaryView, **COMMON_VIEWS}


def blueprint(views: Mapping[str, type[WebView]]) -> web.Blueprint:
    """The views by path, as Faust takes them."""
    made = web.Blueprint("notify")
    for path, view in views.items():
        made.route(path, name=view.__name__.lower())(view)
    return made


worker_blueprint = blueprint(WORKER_VIEWS)
