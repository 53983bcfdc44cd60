"""A worker uses a new password of each service when its file changes."""

from __future__ import annotations

from pathlib import Path

from notify_streams.followed_files import FollowedFiles
from notify_streams.secret import Secret
from notify_streams.security import KafkaSecurity, MongoSecurity, RedisSecurity
from notify_streams.stores.redis import access_with
from notify_streams.transport.app_state import app_state
from tests.unit.web.conftest import NOWHERE, NewWorker
from tests.waiting import until


async def test_a_new_password_of_each_service_is_used(new_worker: NewWorker, tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("kafka", "far", "mongo", "redis")}
    for file in files.values():
        file.write_text("first")
    first = {name: Secret.read(file) for name, file in files.items()}
    near, far = (KafkaSecurity("SASL_PLAINTEXT", "PLAIN", "app", first[name]) for name in ("kafka", "far"))
    redis = RedisSecurity(password=first["redis"])
    worker = new_worker(
        "forward",
        kafka_security=near,
        remote_kafka={"eu": NOWHERE},
        remote_kafka_security={"eu": far},
        mongo_security=MongoSecurity("app", first["mongo"]),
        redis_security=redis,
    )
    await worker.shards.start()
    old_client = worker.shards.client(0)
    for file in files.values():
        file.write_text("second")
    following = [
        owner
        for start, _ in app_state(worker).lifecycles
        if isinstance(owner := getattr(start, "__self__", None), FollowedFiles)
    ]
    for one in following:
        await one.start()
    settings = worker.settings
    connections = (settings.kafka_connection(), settings.remote_kafka_connections()["eu"])

    def password_of_redis() -> str:
        password = access_with(redis).security.password
        return password.reveal() if password else ""

    await until(lambda: all(one.security["sasl_plain_password"] == "second" for one in connections))
    await until(lambda: password_of_redis() == "second" and worker.shards.client(0) is not old_client)
    for one in following:
        await one.close()
    await worker.shards.close()
