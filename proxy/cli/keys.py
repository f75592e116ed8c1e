"""``weighbridge keys``: make, list and revoke the keys that clients hold."""

import secrets
from dataclasses import asdict
from typing import Annotated

import typer

from proxy.cli.ledger_access import with_ledger
from proxy.cli.output import moment, print_json, print_table, say
from proxy.cli.subscriptions import make_missing
from proxy.core.subscriptions import KEY_PREFIX_LENGTH, key_digest
from proxy.ledger.port import KeyRecord, Ledger
from proxy.settings import Settings

SECRET_PREFIX = "wb-"  # noqa: S105 - what every secret starts with is none
_SECRET_BYTES = 32

group = typer.Typer(help="API keys: each names a subscription.", no_args_is_help=True)


@group.command("create")
def create(
    customer: Annotated[str, typer.Option(help="Who is billed; made if missing.")],
    subscription: Annotated[
        str | None,
        typer.Option(
            help="Its subscription; made if missing. Named like the customer unless given."
        ),
    ] = None,
    plan: Annotated[
        str | None, typer.Option(help="Plan of a new subscription; default unless given.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="To know the key by, such as laptop.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make a key, and what is missing for it; its secret is shown this once."""
    settings = Settings.load()
    secret = SECRET_PREFIX + secrets.token_urlsafe(_SECRET_BYTES)

    async def make(ledger: Ledger) -> KeyRecord:
        holder = await make_missing(
            ledger, settings, subscription or customer, customer=customer, plan=plan
        )
        return await ledger.make_key(
            digest=key_digest(secret.encode()),
            prefix=secret[:KEY_PREFIX_LENGTH],
            name=name,
            subscription=holder.external_id,
        )

    record = with_ledger(settings, make, makes=True)
    if as_json:
        shown = ("subscription", "customer", "plan", "prefix", "name", "id")
        print_json({"secret": secret} | {key: getattr(record, key) for key in shown})
    else:
        _introduce(record, secret, settings)


def _introduce(record: KeyRecord, secret: str, settings: Settings) -> None:
    say(f"Key {record.prefix}… of subscription {record.subscription}, plan {record.plan}:\n")
    say(f"  {secret}\n")
    say("It is shown this once: only its digest is kept. To use it:\n")
    say(f"  export OPENAI_BASE_URL=http://{settings.host}:{settings.port}/v1")
    say(f"  export OPENAI_API_KEY={secret}\n")
    if settings.mode == "passthrough":
        say("No PROXY_UPSTREAM_API_KEY is set: until it is, clients send their own upstream keys,")
        say("and this one opens nothing.\n")
    say(f"Then read what it used:  weighbridge usage {record.subscription}")


@group.command("list")
def list_keys(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List all keys, newest first."""

    async def read(ledger: Ledger) -> list[KeyRecord]:
        return list(await ledger.keys())

    records = with_ledger(Settings.load(), read)
    if as_json:
        moments = ("created_at", "last_used_at", "revoked_at")
        print_json(
            [asdict(r) | {key: moment(getattr(r, key)) or None for key in moments} for r in records]
        )
    elif not records:
        say("There is no key yet. Make one:  weighbridge keys create --customer acme")
    else:
        columns = ("id", "prefix", "name", "customer", "subscription", "plan", "created")
        print_table((*columns, "last used", "revoked"), (_row(record) for record in records))


@group.command("revoke")
def revoke(
    key: Annotated[str, typer.Argument(help="Its prefix or id, as 'keys list' shows them.")],
) -> None:
    """Revoke a key: within a second it opens nothing; what runs may finish."""
    if key.startswith(SECRET_PREFIX):
        key = key[:KEY_PREFIX_LENGTH]

    async def end(ledger: Ledger) -> KeyRecord:
        return await ledger.revoke_key(key)

    record = with_ledger(Settings.load(), end)
    say(f"Key {record.prefix}… of subscription {record.subscription} is revoked.")


def _row(record: KeyRecord) -> tuple[str, ...]:
    return (
        str(record.id),
        record.prefix,
        record.name or "",
        record.customer,
        record.subscription,
        record.plan,
        moment(record.created_at),
        moment(record.last_used_at),
        moment(record.revoked_at),
    )
