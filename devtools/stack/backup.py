"""Snapshots of a region's databases as copies of their files.

A shard is locked against writes while its files are copied, as MongoDB's manual says of file system snapshots without a volume manager
(https://www.mongodb.com/docs/manual/tutorial/backup-with-filesystem-snapshots/): copy one member of the replica set, each shard by itself.
"""

import shutil
from pathlib import Path

from devtools.stack.mongodb import Shard
from devtools.stack.region import Component, Region

_DATA = "data"


def snapshot_shard(shard: Shard, folder: Path) -> None:
    """Copy the files of its first member while it takes no writes."""
    member = shard.members[0]
    member.admin("fsync", lock=True)
    try:
        shutil.copytree(member.folder / _DATA, folder, ignore=shutil.ignore_patterns("mongod.lock", "*.sock"))
    finally:
        member.admin("fsyncUnlock")


def snapshot_registry(region: Region, folder: Path) -> None:
    """Copy DynamoDB Local's files; it is stopped meanwhile."""
    region.dynamodb.stop()
    try:
        shutil.copytree(region.folder / "dynamodb" / _DATA, folder)
    finally:
        region.dynamodb.start()


def lose(region: Region, *, kafka: bool) -> None:
    """SIGKILL every service but the providers and the edge, which are elsewhere, and delete what they had; Kafka only with `kafka`."""
    lost: tuple[Component, ...] = (region.kafka, *region.shards, region.redis, region.dynamodb)
    for one in lost:
        one.kill()
    names = ["redis", "dynamodb", *(f"shard{number}" for number in range(len(region.shards)))]
    for name in [*names, *(["kafka"] if kafka else [])]:
        shutil.rmtree(region.folder / name)


def restore_databases(region: Region, shards: list[Path], registry: Path) -> None:
    """Give the empty services the files of snapshots; `Stack.up` starts them."""
    for shard, snapshot in zip(region.shards, shards, strict=True):
        shutil.copytree(snapshot, shard.members[0].folder / _DATA)
    shutil.copytree(registry, region.folder / "dynamodb" / _DATA)
