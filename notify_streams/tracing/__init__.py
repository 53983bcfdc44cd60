"""Traces of triggers: OpenTelemetry, off unless `tracing.endpoint` is set.

A span is recorded once, when it has ended, with an id that was drawn before: a record that is published meanwhile carries it. Attributes
hold the trigger's id and nothing else of a person. Only `spans` and `span_queue` import OpenTelemetry, and only where tracing is on.
"""
