"""Which form of an invoice is meant."""

import pytest

from proxy.errors import BadRequestError
from proxy.web.invoice import chosen_form


@pytest.mark.parametrize(
    ("asked", "accept", "form"),
    [
        (None, b"", "json"),
        (None, b"*/*", "json"),
        (None, b"text/csv", "csv"),
        (None, b"text/html,application/xhtml+xml,*/*;q=0.8", "html"),
        (None, b"application/json;q=0.5, text/csv;q=0.9", "csv"),
        (None, b"text/html;q=x, application/json;q=0.1", "json"),
        (None, b"text/csv;charset=utf-8", "csv"),
        (["html"], b"application/json", "html"),
    ],
)
def test_the_query_comes_before_the_header(
    asked: list[str] | None, accept: bytes, form: str
) -> None:
    assert chosen_form(asked, accept) == form


def test_an_unknown_form_is_told() -> None:
    with pytest.raises(BadRequestError, match="no format 'pdf'"):
        chosen_form(["pdf"], b"")
