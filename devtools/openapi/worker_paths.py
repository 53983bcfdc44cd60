"""What every worker serves."""

from __future__ import annotations

from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST

from devtools.openapi.answers import LagAnswer, LiveAnswer, ReadyAnswer
from devtools.openapi.document import RETRY_AFTER, Server
from devtools.openapi.operation import JSON, Answer, Operation, Paths, of_json
from notify_streams.web.summary import Summary

OF_EVERY_WORKER: Final[Paths] = {
    "/live": {
        "get": Operation(
            "Whether a restart would help",
            {200: of_json("It would not.", LiveAnswer), 503: of_json("This process is stuck.", LiveAnswer)},
        )
    },
    "/ready": {
        "get": Operation(
            "Whether the worker works",
            {
                200: of_json("It works, and nothing is wrong around it.", ReadyAnswer),
                503: Answer("Something is wrong or not yet there.", {JSON: ReadyAnswer}, RETRY_AFTER),
            },
        )
    },
    "/metrics": {
        "get": Operation(
            "All metrics, in the text format of Prometheus",
            {200: Answer("docs/operate/metrics.md has the list.", {CONTENT_TYPE_LATEST.partition(";")[0]: str})},
        )
    },
    "/lag": {"get": Operation("The lag of the worker's partitions", {200: of_json("At most 5 s old.", LagAnswer)})},
}
WORKER: Final = Server(
    "notify-streams: a worker",
    "What every worker serves on its port, for probes, the collector of metrics and the region's page. The role `views` has a page at `/`: "
    "openapi.views.json. The role `webhooks` serves openapi.public.json besides. No view needs a token, and none has data of a person.",
    {
        "/": {"get": Operation("Counts and times since the worker's start", {200: of_json("The summary.", Summary)})},
        **OF_EVERY_WORKER,
    },
    {},
    {},
)
