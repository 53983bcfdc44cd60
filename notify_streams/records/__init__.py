"""Record types of the topics, with their decoders and bounds.

Comes in: keys, values and headers of Kafka records. Goes out: frozen `msgspec` structs, or a `Rejection`.
Refuses to know: tables, databases, Faust.
"""
