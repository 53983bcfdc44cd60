"""Multi-region operation: locations, forwarding, failover.

Without I/O: `locations`, `replication`, `forwarding.headers`, `forwarding.next_hop`, `failover.protocol`, `failover.placement`.
With I/O: `forwarding.remote_region`, `forwarding.partition_queues`, `failover.log`, `failover.placement_service`, `consumer_groups`.
"""
