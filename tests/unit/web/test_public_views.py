"""The views of the role `webhooks`, on a worker without services."""

from tests.unit.web.conftest import Visit


async def test_it_serves_probes_and_metrics_and_no_view_of_users(visit: Visit) -> None:
    client = await visit(role="webhooks")
    assert (await client.get("/live")).status == 200
    assert (await client.get("/metrics")).status == 200
    assert [(await client.get(path)).status for path in ("/users/ann", "/dead-letters", "/ledger")] == [404] * 3


async def test_a_provider_without_webhooks_is_not_found(visit: Visit) -> None:
    client = await visit(role="webhooks")
    assert (await client.post("/webhooks/unknown", data=b"x")).status == 404
