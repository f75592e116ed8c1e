"""What the log looks like: a line for people, or for programs a JSON object a line.

The access log (:mod:`proxy.web.access_log`) writes its own lines, in the same form.
"""

import json
import logging
import sys
from datetime import UTC, datetime

from proxy.settings import Settings


class JsonFormatter(logging.Formatter):
    """Writes a record as one line, a traceback included."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a JSON object."""
        line = {
            "time": _time_text(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        # Only ASCII: a path may hold what is no text, and the log be read as any encoding.
        return json.dumps(line)


class TextFormatter(logging.Formatter):
    """Writes a record's time, level and message, and a traceback below them."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        """Return the time as the access log writes it."""
        return _time_text(record)


def configure_logging(settings: Settings) -> None:
    """Let all that is logged go to the standard error, in the form that is set."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if logs_json(settings) else TextFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def logs_json(settings: Settings) -> bool:
    """Tell whether the log is for programs: as it is set, else where nobody looks at it."""
    if settings.log_format == "auto":
        return not sys.stderr.isatty()
    return settings.log_format == "json"


def _time_text(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
