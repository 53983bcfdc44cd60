"""The one way out: decided batches in; notifications, outbox rows and the ledger in one transaction; then the topics; then the acknowledgement.

Pure centre: `taken` (what a batch became), `flush` (what one transaction writes). I/O rim: `transaction`, `publisher`, `group_commit`, `relay`.
Refuses to know: how a trigger is decided.
"""
