"""Administration: topics, shards, bootstrap, consumer lag and the audit."""
