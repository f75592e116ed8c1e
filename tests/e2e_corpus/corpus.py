"""The recorded traffic, and each record's request as it would be sent to the proxy."""

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy.wire.endpoints import ENDPOINTS, Endpoint
from tests.wire.audio_files import wav

BY_NAME = {endpoint.name: endpoint for endpoint in ENDPOINTS}
EVENT_STREAM = "text/event-stream"
BOUNDARY = "recorded"


@dataclass(slots=True, kw_only=True)
class Request:
    """A request to the proxy: the client's headers beside key and length, and its body."""

    method: str
    path: str
    content_type: str
    body: bytes


def read_records(path: Path) -> list[dict[str, Any]]:
    """Read all records of the file, or of the one file of the folder."""
    file = path / "dev.jsonl.gz" if path.is_dir() else path
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def carries_usage(record: dict[str, Any]) -> bool:
    """Whether a record's answer succeeded and says what was used."""
    return 200 <= record["status"] < 300 and record["usage"] is not None


def is_stream(record: dict[str, Any]) -> bool:
    """Whether a record's answer is a stream of events, whatever was asked for."""
    return not record["response_body"].lstrip().startswith(("{", "["))


def media_type(record: dict[str, Any]) -> str:
    """The answer's content type: as recorded, else by what it is."""
    recorded: str = record["response_content_type"] or ""
    if is_stream(record) != recorded.startswith(EVENT_STREAM):
        return EVENT_STREAM if is_stream(record) else "application/json"
    return recorded


def request_of(record: dict[str, Any]) -> Request:
    """Write a record's request; one that was not recorded is as short as can be."""
    endpoint: Endpoint = BY_NAME[record["endpoint"]]
    path = endpoint.path.replace("{response}", "resp_1")
    if record["url_path"].startswith("/openai/deployments/"):
        path = record["url_path"]  # the model may be there alone
    asked = record["request_body"]
    if endpoint.method == "GET":
        return Request(method="GET", path=path, content_type="", body=b"")
    if endpoint.name in {"audio.transcriptions", "images.variations", "audio.translations"}:
        fields = asked.get("_multipart", {}) if isinstance(asked, dict) else {}
        return Request(
            method="POST",
            path=path,
            content_type=f"multipart/form-data; boundary={BOUNDARY}",
            body=_form({"model": "recorded"} | fields),
        )
    if not isinstance(asked, dict):
        asked = {"model": "recorded", "stream": is_stream(record)}
    return Request(
        method="POST",
        path=path,
        content_type="application/json",
        body=json.dumps(asked, ensure_ascii=False).encode("utf-8", "surrogatepass"),
    )


def _form(fields: dict[str, Any]) -> bytes:
    parts = []
    for name, value in fields.items():
        head = f'Content-Disposition: form-data; name="{name}"'
        content = str(value).encode()
        if isinstance(value, dict):
            head += '; filename="audio.wav"\r\nContent-Type: audio/wav'
            content = wav(1.5)
        parts.append(f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + content + b"\r\n")
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
