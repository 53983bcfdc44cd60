"""The web views that each worker serves, by path.

Views that show a user's data or change something need the bearer token (`WebView.needs_token`). All views work on all roles: data
that the role's tables lack is read from MongoDB, Kafka or the registry, with timeouts.
"""

from __future__ import annotations

from typing import Final

from faust import web

from notify_streams.web.dashboard import Dashboard
from notify_streams.web.dead_letters import DeadLetters
from notify_streams.web.health import Live, Ready
from notify_streams.web.lag import Lag
from notify_streams.web.ledger import Ledger
from notify_streams.web.locations import LocationView
from notify_streams.web.metrics import Metrics
from notify_streams.web.notifications import Notifications
from notify_streams.web.outbox import Outbox
from notify_streams.web.preferences import PreferenceView
from notify_streams.web.providers import Providers
from notify_streams.web.regions import Regions
from notify_streams.web.responses import WebView
from notify_streams.web.users import UserView

VIEWS: Final[dict[str, type[WebView]]] = {
    "/": Dashboard,
    "/live": Live,
    "/ready": Ready,
    "/metrics": Metrics,
    "/lag": Lag,
    "/ledger": Ledger,
    "/outbox": Outbox,
    "/users/{user_id}": UserView,
    "/users/{user_id}/preferences/{category}/{channel}": PreferenceView,
    "/locations/{key}": LocationView,
    "/notifications/{trigger_id}": Notifications,
    "/dead-letters": DeadLetters,
    "/providers": Providers,
    "/regions": Regions,
}

blueprint = web.Blueprint("notify")
for _path, _view in VIEWS.items():
    blueprint.route(_path, name=_view.__name__.lower())(_view)
