"""Transactional outbox: commit with the ledger, publish, acknowledge.

Plain values: `decided_batch`, `flush_plan`, `row_ids`. I/O: `transaction`, `flush_commit`, `flush_publications`, `ledger`, `fence`,
`publisher`, `relay`.
Loops: `outbox`, `flush_loop`.
"""
