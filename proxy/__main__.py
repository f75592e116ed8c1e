"""``python -m proxy`` and the command ``weighbridge``: find the command, report what fails."""

import sys
from collections.abc import Sequence

from proxy.errors import BadRequestError, ProxyError, SettingsError

FAILED = 1
MISUSED = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; errors that people can mend end in one sentence, not in a traceback.

    Returns:
        0; 1 if it failed; 2 if it was asked wrongly; 130 if it was interrupted.
    """
    asked = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(asked)
    except ProxyError as error:
        sys.stderr.write(f"weighbridge: {error.message}\n")
        return MISUSED if isinstance(error, SettingsError | BadRequestError) else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(asked: list[str]) -> int:
    # Imports wait for the command: a server must start before typer and rich would be loaded.
    if asked[:1] == ["serve"]:
        from proxy.cli.serve import serve  # noqa: PLC0415

        return serve(asked[1:])
    from proxy.cli.commands import run  # noqa: PLC0415

    return run(asked)


if __name__ == "__main__":
    sys.exit(main())
