"""From a batch of records to decided triggers: which lane takes a record, who the person is, what is sent where.

Pure centre: `lane`, `decision`. Refuses to know: Kafka clients, databases.
"""
