"""What the role `views` serves, by path.

Its workers have no agents: they serve the page, and all views that ask databases or other workers.
Views that show a user's data or change something need a bearer token (`WebView.right`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from notify_streams.web.dead_letters import DeadLetters
from notify_streams.web.ledger_view import Ledger
from notify_streams.web.locations import LocationView
from notify_streams.web.login import Login, Logout
from notify_streams.web.notifications import Notifications, NotificationSearch
from notify_streams.web.outbox_view import Outbox
from notify_streams.web.preferences import PreferenceView
from notify_streams.web.providers import Providers
from notify_streams.web.region_events import RegionEventStream
from notify_streams.web.region_page import RegionPage
from notify_streams.web.regions import Regions
from notify_streams.web.runbooks import RunbookPage
from notify_streams.web.search import Search
from notify_streams.web.templates import TemplateList, TemplatePreview
from notify_streams.web.users import UserView
from notify_streams.web.verdict.region_view import RegionView
from notify_streams.web.worker_views import COMMON_VIEWS, blueprint

if TYPE_CHECKING:
    from notify_streams.web.responses import WebView

REGION_VIEWS: Final[dict[str, type[WebView]]] = {
    "/": RegionPage,
    **COMMON_VIEWS,
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

region_blueprint = blueprint(REGION_VIEWS)
