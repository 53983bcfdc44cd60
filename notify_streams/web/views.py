"""The web views, by path.

A worker of the role `views` has no agents: it serves the page, and all views that ask databases or other workers. Every other worker
answers from values that its loops keep, so that no client delays its work.
Views that show a user's data or change something need a bearer token (`WebView.right`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from faust import web

from notify_streams.web.dead_letters import DeadLetters
from notify_streams.web.health import Live, Ready
from notify_streams.web.lag import Lag
from notify_streams.web.ledger_view import Ledger
from notify_streams.web.locations import LocationView
from notify_streams.web.login import Login, Logout
from notify_streams.web.metrics import Metrics
from notify_streams.web.notifications import Notifications, NotificationSearch
from notify_streams.web.outbox_view import Outbox
from notify_streams.web.preferences import PreferenceView
from notify_streams.web.providers import Providers
from notify_streams.web.region_events import RegionEventStream
from notify_streams.web.region_page import RegionPage
from notify_streams.web.regions import Regions
from notify_streams.web.responses import WebView
from notify_streams.web.runbooks import RunbookPage
from notify_streams.web.search import Search
from notify_streams.web.summary_view import SummaryView
from notify_streams.web.templates import TemplateList, TemplatePreview
from notify_streams.web.users import UserView
from notify_streams.web.verdict.region_view import RegionView

if TYPE_CHECKING:
    from collections.abc import Mapping

_OF_EVERY_WORKER: Final[dict[str, type[WebView]]] = {"/live": Live, "/ready": Ready, "/metrics": Metrics, "/lag": Lag}
WORKER_VIEWS: Final[dict[str, type[WebView]]] = {"/": SummaryView, **_OF_EVERY_WORKER}
REGION_VIEWS: Final[dict[str, type[WebView]]] = {
    "/": RegionPage,
    **_OF_EVERY_WORKER,
    "/login": Login,
    "/logout": Logout,
    "/ledger": Ledger,
    "/outbox": Outbox,
    "/users/{user_id}": UserView,
    "/users/{user_id}/preferences/{category}/{channel}": PreferenceView,
    "/locations/{key}": LocationView,
    "/notifications": NotificationSearch,
    "/notifications/{trigger_id:.+}": Notifications,
    "/dead-letters": DeadLetters,
    "/providers": Providers,
    "/region": RegionView,
    "/region/events": RegionEventStream,
    "/regions": Regions,
    "/runbooks": RunbookPage,
    "/search": Search,
    "/templates": TemplateList,
    "/templates/{name}": TemplatePreview,
}


def blueprint(views: Mapping[str, type[WebView]]) -> web.Blueprint:
    """The views by path, as Faust takes them."""
    made = web.Blueprint("notify")
    for path, view in views.items():
        made.route(path, name=view.__name__.lower())(view)
    return made


worker_blueprint = blueprint(WORKER_VIEWS)
region_blueprint = blueprint(REGION_VIEWS)
