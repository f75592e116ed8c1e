"""All commands: each is a file of this folder, and a line here."""

from collections.abc import Sequence
from typing import Annotated

import typer

from proxy import __version__
from proxy.cli import (
    check,
    customers,
    demo,
    invoice,
    keys,
    limits,
    maintenance,
    periods,
    prices,
    requests,
    subscriptions,
    usage,
)
from proxy.cli.serve import serve

_AS_WRITTEN = {"ignore_unknown_options": True, "allow_extra_args": True}

root = typer.Typer(
    help="Weighs, keeps and prices every token that crosses to an OpenAI-compatible API.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@root.callback(invoke_without_command=True)
def _version(
    *, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    if version:
        typer.echo(f"weighbridge {__version__}")
        raise typer.Exit


@root.command("serve", context_settings=_AS_WRITTEN, add_help_option=False)
def _serve(context: typer.Context) -> None:
    """Start the proxy; 'weighbridge serve --help' lists every setting."""
    raise typer.Exit(serve(context.args))


root.command("demo")(demo.demo)
root.command("check")(check.check)
root.add_typer(keys.group, name="keys")
root.add_typer(customers.group, name="customers")
root.add_typer(subscriptions.group, name="subscriptions")
root.add_typer(limits.group, name="limits")
root.add_typer(requests.group, name="requests")
root.command("usage")(usage.usage)
root.add_typer(prices.group, name="prices")
root.add_typer(periods.group, name="periods")
root.command("invoice")(invoice.invoice)
root.command("verify")(maintenance.verify)
root.command("backup")(maintenance.backup)
root.command("prune")(maintenance.prune)


def run(asked: Sequence[str]) -> int:
    """Run the command that was asked for; return its exit status."""
    try:
        root(args=list(asked), prog_name="weighbridge")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    return 0
