"""What the internet reaches: the views of the role `webhooks`.

No view has a bearer token. Each proves its caller by a signature or a signed token before it reads anything else. An ingress lets only
the paths of `PUBLIC_VIEWS` through; the others are for probes, the collector of metrics and the page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from notify_streams.public.preference_page import PreferencePage
from notify_streams.public.region_stops import REGION_STOPS, RegionStops
from notify_streams.public.unsubscribe import Unsubscribe
from notify_streams.public.webhooks import Webhooks
from notify_streams.web.worker_views import WORKER_VIEWS, blueprint

if TYPE_CHECKING:
    from notify_streams.web.responses import WebView

PUBLIC_VIEWS: Final[dict[str, type[WebView]]] = {
    REGION_STOPS: RegionStops,
    "/webhooks/{provider}": Webhooks,
    "/preferences/{token}": PreferencePage,
    "/unsubscribe/{token}": Unsubscribe,
}

public_blueprint = blueprint({**WORKER_VIEWS, **PUBLIC_VIEWS})
