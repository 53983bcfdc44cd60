"""Settings of tracing (OpenTelemetry)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from notify_streams import addresses
from notify_streams.settings_types import PositiveS

if TYPE_CHECKING:
    from collections.abc import Iterator

_Ratio = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Positive = Annotated[int, msgspec.Meta(gt=0)]


class TracingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the traces of triggers are sent, and of how many. Without `endpoint` tracing is off.

    Headers and certificates of the connection are those of OpenTelemetry's own variables (`OTEL_EXPORTER_OTLP_HEADERS`,
    `OTEL_EXPORTER_OTLP_CERTIFICATE`).
    """

    #: Takes OTLP over HTTP (protobuf), for example ``http://collector:4318``. The path is `/v1/traces` after it, unless it ends so.
    endpoint: str | None = None
    #: How many of the triggers without a `traceparent` begin a trace. One with it is traced if its sampled flag is set.
    sample_ratio: _Ratio = 0.0
    #: A worker traces no more triggers than this in a second, whatever their flags say: a span costs 0.1 ms of CPU.
    max_triggers_per_s: _Positive = 100
    #: Spans that wait to be sent. Further ones are dropped.
    max_waiting_spans: _Positive = 4096
    #: Of one request to the endpoint, with its repetitions.
    timeout_s: PositiveS = 5.0
    #: Providers whose calls carry the header `traceparent`: the server behind the configured address is yours.
    send_to: tuple[Literal["fcm", "twilio"], ...] = ()

    def problems(self) -> Iterator[str]:
        """What is wrong; paths are relative to this group."""
        if self.endpoint is not None and not addresses.HTTP.accepts(self.endpoint):
            yield f"endpoint must be {addresses.HTTP.describe}"
