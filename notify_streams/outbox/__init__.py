"""Transactional outbox: commit decided batches with the ledger, publish their records, acknowledge.

Plain values: `decided_batch`, `flush_plan`, `row_ids`. I/O: `transaction`, `ledger`, `fence`, `publisher`, `relay`.
Loops: `outbox`, `flush_loop`.
"""
