"""``weighbridge serve``: start the proxy and stay."""

import sys
from collections.abc import Sequence

from proxy.cli.options import help_text, parse
from proxy.settings import Settings, unknown_names


def serve(arguments: Sequence[str]) -> int:
    """Start with these options; return the exit status once it has stopped."""
    if "--help" in arguments or "-h" in arguments:
        sys.stdout.write(help_text())
        return 0
    settings = Settings.load(**parse(arguments))
    for name in unknown_names():
        sys.stderr.write(f"weighbridge: {name} is set, but there is no such setting: a typo?\n")
    # --help and bad settings need none of the rest.
    if settings.workers > 1:
        from proxy.supervisor import supervise  # noqa: PLC0415

        return supervise(settings)
    from proxy.app import serve as run  # noqa: PLC0415

    return run(settings)
