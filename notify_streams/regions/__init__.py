"""Several regions as one system: who serves a person now, how a record gets there, and how a region's people change hands.

Pure centre: `locations` (rows), `travel` (headers), `next_hop` (the decision), `replication`, `control` and `placement` (epochs).
I/O rim: `remote_region` (another region's Kafka), `control_log`, `learning`, `failover` (the command).
Refuses to know: Faust, databases, what a trigger says.
"""
