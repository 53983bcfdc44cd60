"""The README's first trigger to providers that demand real credentials, with the settings of docs/start/first-push.md."""

from __future__ import annotations

import re
import shlex
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import orjson
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import rsa

from devtools.stack.paths import PROJECT
from tests.e2e.processes import until
from tests.e2e.running_region import RunningRegion, a_new_id, wait_until_known
from tests.host_certificate import write_host_certificate
from tests.strict_providers import TWILIO_SID, StrictProviders, new_key, strict_providers

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1200), pytest.mark.asyncio(loop_scope="session")]

#: The roles that call FCM and Twilio for triggers that are not critical, as that of the README.
ROLES = ("push", "sms")
SENDER = "+15550100200"
USER = "u-42"


@dataclass(frozen=True)
class FirstPush:
    """The region, the providers, and what the documents tell to configure."""

    region: RunningRegion
    providers: StrictProviders
    key_file: Path
    token_file: Path
    #: the settings, as variables
    environ: dict[str, str]

    def give(self, key: rsa.RSAPrivateKey, token: str) -> None:
        """Replace the service account's key file and the file with Twilio's token."""
        for file, content in (self.key_file, self.providers.service_account(key)), (self.token_file, f"{token}\n"):
            new = file.with_suffix(".new")
            new.write_text(content)
            new.replace(file)

    async def check(self) -> tuple[int, list[str]]:
        """Exit status and lines of `providers check`."""
        done = await self.region.cli("providers", "check", stdin=b"", **self.environ)
        return done.status, done.out.splitlines()

    async def states(self, trigger_id: str) -> set[str]:
        """Of the deliveries by push and by SMS."""
        states = await self.region.deliveries(trigger_id, USER)
        return {states[channel] for channel in ("push", "sms") if channel in states}


def readme_commands() -> list[str]:
    """The commands of the README's first trigger."""
    chapter = (PROJECT / "README.md").read_text().partition("## Your first trigger\n")[2]
    block = re.search(r"```console\n(.*?)```", chapter, re.DOTALL)
    assert block is not None
    return [line for line in block[1].splitlines() if "notify-streams" in line]


def with_those_of_the_sandbox(certificate: Path, region: RunningRegion) -> Path:
    """A file with the certificate of those providers and the authorities of the sandbox, which serves APNs and Web Push."""
    of_sandbox = Path(str(region.settings.providers.ca_file))
    both = certificate.with_name("authorities.pem")
    both.write_text(certificate.with_suffix(".crt").read_text() + of_sandbox.read_text())
    return both


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def first_push(
    running_region: RunningRegion, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[FirstPush]:
    """The region's workers of `ROLES` call servers that check credentials and pass messages on to the sandbox, so that the audit has them."""
    folder = tmp_path_factory.mktemp("first-push")
    certificate = write_host_certificate(folder)
    sandbox = running_region.settings.providers.fcm
    async with strict_providers(new_key(), certificate, sandbox) as providers:
        settings = {
            "fcm": providers.url,
            "fcm_service_account_file": folder / "key.json",
            "ca_file": with_those_of_the_sandbox(certificate, running_region),
            "twilio": providers.url,
            "twilio_account_sid": TWILIO_SID,
            "twilio_auth_token_file": folder / "token",
            "twilio_sender": SENDER,
        }
        environ = {f"NOTIFY_PROVIDERS__{name.upper()}": str(value) for name, value in settings.items()}
        found = FirstPush(running_region, providers, folder / "key.json", folder / "token", environ)
        found.give(new_key(), "wrong-token")
        async with running_region.workers_with(environ, *ROLES):
            yield found


async def test_with_wrong_credentials_it_is_a_sentence_and_nothing_fails(first_push: FirstPush) -> None:
    region, providers = first_push.region, first_push.providers
    status, said = await first_push.check()
    assert status == 1
    assert [line for line in said if "WRONG" in line] == [
        f"fcm      WRONG: 127.0.0.1:{providers.port} refuses the key of providers.fcm_service_account (invalid_grant): the key was "
        "deleted, or this machine's clock is wrong; create a new key for the service account",
        "twilio   WRONG: Twilio refuses the log-in (HTTP 401): check providers.twilio_account_sid and providers.twilio_auth_token",
    ]
    add, *_ = readme_commands()
    assert (await region.cli(*shlex.split(add)[1:])).status == 0
    await wait_until_known(region, USER)
    assert (await region.cli("prefs", "set", USER, "payments", "sms", "in")).status == 0
    trigger_id = a_new_id("first")
    trigger = {"id": trigger_id, "user_id": USER, "category": "payments", "template": "payment_received"}
    await region.cli("send", "-", stdin=orjson.dumps(trigger | {"data": {"amount": "12.50"}}))

    async def waits() -> bool:
        return await first_push.states(trigger_id) == {"retrying"}

    await until(waits, "both deliveries are retried")
    for role, code in (("push", "no access token"), ("sms", "HTTP 401, code 20003")):
        _, ready = await region.view(role, "/ready")
        provider = "fcm" if role == "push" else "twilio"
        sentence = f"calls to {provider} fail because of the credential ({code}): `notify-streams providers check` says what is wrong"
        assert sentence in ready["waiting_for"]
        lines = [line for line in region.worker_log(role) if line.get("action") == "provider.credential"]
        assert [(line["level"], line["code"]) for line in lines] == [("ERROR", code)]
    (renewal,) = [line for line in region.worker_log("push") if line.get("call") == "fcm.token"]
    assert "refuses the key of providers.fcm_service_account (invalid_grant)" in renewal["error"]
    assert await first_push.states(trigger_id) == {"retrying"} and not providers.pushes and not providers.texts
    first_push.give(providers.key, providers.twilio_login[1])

    async def is_sent() -> bool:
        return await first_push.states(trigger_id) == {"sent"}

    await until(is_sent, "both deliveries are sent with the new credentials")
    for role in ROLES:
        await until(partial(region.ready, role), f"{role} is ready")
    await region.audited()
    status, said = await first_push.check()
    assert status == 0, said


async def test_the_first_trigger_of_the_readme_arrives(first_push: FirstPush) -> None:
    region, providers = first_push.region, first_push.providers
    pushes, texts = len(providers.pushes), len(providers.texts)
    _, send, why, audit = readme_commands()
    trigger_id = a_new_id("readme")
    trigger = shlex.split(send)[1].replace("first-1", trigger_id)
    assert (await region.cli("send", "-", stdin=trigger.encode())).status == 0
    await region.drained()
    (push,), (text,) = providers.pushes[pushes:], providers.texts[texts:]
    assert push["token"] == "token-of-the-app" and "12.50" in push["notification"]["body"]
    assert (text["To"], text["From"]) == ("+15550000042", SENDER) and "12.50" in text["Body"]
    explained = await region.cli(*shlex.split(why.replace("first-1", trigger_id))[1:])
    assert explained.status == 0 and explained.out.count("1: sent, ") == 3, explained.out
    audited = await region.cli(*shlex.split(audit)[1:], "--wait", "60", stdin=b"", **first_push.environ)
    assert audited.status == 0 and audited.out.count("is not compared with the sandbox's log") == 2, audited.out
