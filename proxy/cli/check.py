"""``weighbridge check``: would it start, and is it set as it should be?"""

from proxy.cli.output import say, warn
from proxy.core.book import PriceBook
from proxy.errors import PricingError
from proxy.settings import Settings, unknown_names

_SHORT_TOKEN = 16


def check() -> None:
    """Check settings and prices; a bad price is shown with file, line, key and reason."""
    settings = Settings.load()
    for warning in _warnings(settings):
        warn(warning)
    from proxy.app import load_book  # noqa: PLC0415 - bad settings are told without it
    from proxy.pricing import hidden_prices  # noqa: PLC0415
    from proxy.upstream_table import rows_of  # noqa: PLC0415

    rows = rows_of(settings)
    book = load_book(settings)
    _compare(settings, book)
    for hidden in hidden_prices(book):
        warn(hidden)
    say(f"mode      {settings.mode}")
    say(f"upstream  {settings.upstream_base_url}")
    for row in rows:
        say(f"          {row.base_url} ({row.name}): {', '.join(row.models)}")
    say(f"ledger    {settings.database_path.absolute()}")
    say(f"prices    {settings.pricing_file.absolute()}: {len(book.models)} models")
    say("Everything can be used. Start:  weighbridge serve")


def _compare(settings: Settings, book: PriceBook) -> None:
    """Refuse what the proxy would refuse of a good file: what the ledger holds already.

    A ledger of another version is looked at as it is: to check must change nothing.

    Raises:
        PricingError: It changes what must last.
    """
    from proxy.ledger.maintenance import maintained  # noqa: PLC0415 - bad prices are told without
    from proxy.ledger.migrate import check_version  # noqa: PLC0415
    from proxy.ledger.rows import read_book, read_used_plans  # noqa: PLC0415
    from proxy.pricing import parse_adopted, refuse_change  # noqa: PLC0415
    from proxy.pricing.watch import read_text  # noqa: PLC0415

    if not settings.database_path.is_file():
        return
    with maintained(settings.database_path, up_to_date=False) as connection:
        adopted = read_book(connection) if check_version(connection) else None
        used = read_used_plans(connection) if adopted else []
    if adopted is None or not used:
        return
    file = settings.pricing_file
    try:
        old = parse_adopted(adopted.text, adopted.reading)
    except PricingError:
        return  # What an older version adopted may be refused by now: the file replaces it.
    refused = refuse_change(old, book, used, read_text(file), str(file))
    if refused is not None:
        raise PricingError(refused)


def _warnings(settings: Settings) -> list[str]:
    warnings = [f"{name} is set, but there is no such setting: a typo?" for name in unknown_names()]
    if not settings.upstream_base_url.endswith("/v1"):
        warnings.append(
            f"PROXY_UPSTREAM_BASE_URL is {settings.upstream_base_url}: most end in /v1, and what "
            "clients ask of /v1 here is asked of just that there."
        )
    token = settings.admin_token
    if token is not None and len(token.get_secret_value()) < _SHORT_TOKEN:
        warnings.append("PROXY_ADMIN_TOKEN is short: it opens everything; take a long random one.")
    return warnings
