"""``weighbridge subscriptions``: who is on which plan."""

from typing import Annotated

import typer

from proxy.cli.customers import make_customer
from proxy.cli.ledger_access import book_in_force, require_plan, with_ledger
from proxy.cli.output import moment, print_json, print_table, say
from proxy.clock import now
from proxy.core.plans import DEFAULT_PLAN
from proxy.core.subscriptions import Subscription
from proxy.errors import ConflictError
from proxy.ledger.port import Ledger
from proxy.settings import Settings

group = typer.Typer(help="Subscriptions: one customer on one plan.", no_args_is_help=True)


@group.command("create")
def create(
    subscription: Annotated[str, typer.Argument(help="Its name, unique over all customers.")],
    customer: Annotated[str, typer.Option(help="Who is billed; made if missing.")],
    plan: Annotated[
        str | None, typer.Option(help="A plan of pricing.toml; default unless given.")
    ] = None,
) -> None:
    """Put a customer on a plan, from now on; one that is there already is not changed."""
    settings = Settings.load()

    async def make(ledger: Ledger) -> Subscription:
        return await make_missing(ledger, settings, subscription, customer=customer, plan=plan)

    made = with_ledger(settings, make, makes=True)
    name, billed = made.external_id, made.customer.external_id
    say(f"Subscription {name}: customer {billed}, plan {made.plan}.")
    say(f"Make a key:  weighbridge keys create --customer {billed} --subscription {name}")


@group.command("list")
def list_subscriptions(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List all subscriptions."""

    async def read(ledger: Ledger) -> list[Subscription]:
        return list(await ledger.subscriptions())

    found = with_ledger(Settings.load(), read)
    if as_json:
        print_json([dict(zip(_COLUMNS, _row(one), strict=True)) for one in found])
    elif not found:
        say("There is no subscription yet. Make one:  weighbridge keys create --customer acme")
    else:
        print_table(_COLUMNS, (_row(one) for one in found))


@group.command("change-plan")
def change_plan(
    subscription: Annotated[str, typer.Argument(help="Its name, as in 'subscriptions list'.")],
    plan: Annotated[str, typer.Argument(help="A plan of pricing.toml.")],
) -> None:
    """Move a subscription to another plan from now on; what was used keeps its plan."""
    settings = Settings.load()

    async def change(ledger: Ledger) -> Subscription:
        await _require_plan(ledger, settings, plan)
        return await ledger.change_plan(subscription, plan=plan)

    changed = with_ledger(settings, change)
    say(f"Subscription {changed.external_id} is on plan {changed.plan} from now on.")


async def make_missing(
    ledger: Ledger, settings: Settings, external_id: str, *, customer: str, plan: str | None
) -> Subscription:
    """Return the subscription; make it, and its customer, where they are missing.

    Raises:
        ConflictError: It is there, but is another customer's or on another plan.
        NotFoundError: No such plan is in force.
    """
    there = await ledger.subscription(external_id)
    if there is None:
        await _require_plan(ledger, settings, plan or DEFAULT_PLAN)
        await make_customer(ledger, settings, customer)
        return await ledger.make_subscription(
            external_id, customer=customer, plan=plan or DEFAULT_PLAN, started_at=now()
        )
    if there.customer.external_id != customer:
        raise ConflictError(
            f"Subscription {external_id} is customer {there.customer.external_id}'s: "
            "name another subscription."
        )
    if plan not in {None, there.plan}:
        raise ConflictError(
            f"Subscription {external_id} is on plan {there.plan}, not {plan}: "
            f"leave --plan out, name another subscription, or move this one with 'weighbridge "
            f"subscriptions change-plan {external_id} {plan}'."
        )
    return there


async def _require_plan(ledger: Ledger, settings: Settings, plan: str) -> None:
    if plan != DEFAULT_PLAN:  # it needs no prices that can be read
        require_plan(await book_in_force(ledger, settings), settings, plan)


_COLUMNS = ("subscription", "customer", "plan", "started", "ended")


def _row(one: Subscription) -> tuple[str, ...]:
    return (
        one.external_id,
        one.customer.external_id,
        one.plan,
        moment(one.started_at),
        moment(one.ended_at),
    )
