"""What pictures cost, and how large they are."""

import base64
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.tokens.image_size import size_in_address, size_of, size_of_data_url
from proxy.tokens.images import image_tokens

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 640, 480)
GIF = b"GIF89a" + struct.pack("<HH", 640, 480)
WEBP = b"RIFF\0\0\0\0WEBP"
JPEG = b"\xff\xd8\xff\xe0\0\x04ab\xff\xff\xd0\x00\xff\xc0\0\x11\x08" + struct.pack(">HH", 480, 640)


@pytest.mark.parametrize(
    ("head", "size"),
    [
        (PNG, (640, 480)),
        (GIF, (640, 480)),
        (WEBP + b"VP8X" + bytes(8) + b"\x7f\x02\0\xdf\x01\0", (640, 480)),
        (WEBP + b"VP8 " + bytes(10) + struct.pack("<HH", 640, 480), (640, 480)),
        (WEBP + b"VP8L" + bytes(5) + (639 | 479 << 14).to_bytes(4, "little"), (640, 480)),
        (WEBP + b"????" + bytes(20), None),
        (JPEG + bytes(8), (640, 480)),
        (b"\xff\xd8\xff\xc4\0\x03x", None),
        (b"\xff\xd8" + bytes(40), None),
        (PNG[:18], None),
        (b"BM", None),
    ],
)
def test_a_size_is_read_from_the_first_bytes(head: bytes, size: tuple[int, int] | None) -> None:
    assert size_of(head) == size


@pytest.mark.parametrize(
    ("url", "size"),
    [
        ("data:image/png;base64," + base64.b64encode(PNG).decode(), (640, 480)),
        ("data:image/png;charset=x;BASE64," + base64.b64encode(PNG).decode() + "A", (640, 480)),
        ("data:image/png;base64,", None),
        ("data:image/png;base64,=é", None),
        ("data:image/png,plain", None),
        ("data:;base64," + base64.b64encode(PNG[:16] + bytes(8)).decode(), None),
        ("https://example.com/a.png", None),
    ],
)
def test_a_data_url_is_read_as_far_as_needed(url: str, size: tuple[int, int] | None) -> None:
    assert size_of_data_url(url) == size


@pytest.mark.parametrize(
    ("url", "size"),
    [
        ("https://example.com/id/800x400", (800, 400)),
        ("https://example.com/cat-320x200.png", (320, 200)),
        ("https://example.com/thumb/a.jpg/2560px-a.jpg", (2560, 1707)),
        ("https://example.com/a.jpg?s=612x612&w=0&k=20", (612, 408)),
        ("https://example.com/a.jpg?size=800x400", (800, 400)),
        ("https://example.com/a.jpg?w=800&h=400&fit=crop", (800, 400)),
        ("https://example.com/a?fm=png&width=600", (600, 400)),
        ("https://example.com/a?height=400", (600, 400)),
        ("https://example.com/a?w=00&h=00", (1, 1)),
        ("https://example.com/a.jpg?raw=12", None),
        ("https://example.com/a.jpg", None),
        ("/800x400", None),
    ],
)
def test_an_address_may_tell_the_size(url: str, size: tuple[int, int] | None) -> None:
    assert size_in_address(url) == size


@pytest.mark.parametrize(
    ("model", "size", "detail", "tokens"),
    [
        ("gpt-4o", (512, 512), "auto", 85 + 170),
        ("gpt-4o", (1024, 1024), "high", 85 + 4 * 170),
        ("gpt-4o", (4096, 2048), "", 85 + 6 * 170),
        ("gpt-4o", (3008, 2000), "", 85 + 6 * 170),
        ("gpt-4o", (2049, 513), "", 85 + 8 * 170),
        ("gpt-4o", (2050, 513), "", 85 + 4 * 170),
        ("gpt-4o", (100_000, 1), "", 85 + 4 * 170),
        ("gpt-4o", (9, 9), "low", 85),
        ("gpt-4o", None, "", 85 + 170),
        ("gpt-5-mini", None, "", 10 * 10 * 1.2 + 1),
        ("gpt-4o-mini", (1, 1), "", 2833 + 5667),
        ("gpt-5", (1, 1), "", 70 + 140),
        ("o1", (1, 1), "", 75 + 150),
        ("computer-use-preview", (1, 1), "", 65 + 129),
        ("gpt-4.1-mini", (640, 480), "", 488),
        ("gpt-5.6-luna", (330, 291), "", 133),
        ("gpt-5-nano", (640, 480), "low", 451),
        ("gpt-5-mini", (4000, 4000), "", 1827),
        ("gpt-5-mini", (100_000, 1), "", 1845),
    ],
)
def test_openai_bills_tiles_or_patches(
    model: str, size: tuple[int, int] | None, detail: str, tokens: int
) -> None:
    assert image_tokens(model, size, detail) == tokens


@pytest.mark.parametrize(
    ("model", "size", "tokens"),
    [
        ("grok-4-1-fast-non-reasoning", (128, 128), 256 + 1),
        ("grok-4-1-fast-non-reasoning", (448, 449), 3 * 256 + 1),
        ("grok-2-vision", (4000, 4000), 1792 + 1),
        ("llama-4-scout-17b-16e-instruct", (400, 301), 3 * 145),
        ("Llama-4-Maverick", (597, 566), 5 * 145),
        ("claude-haiku-4-5-20251001", (128, 128), 5 * 5),
        ("claude-haiku-4-5-20251001", (330, 291), 12 * 11),
        ("us.anthropic.claude-3-7-sonnet-20250219-v1", (60, 30), 3 * 2),
        ("claude-sonnet-4-5", (4000, 4000), 39 * 39),
        ("claude-opus-4-7", (1800, 1200), 65 * 43),
        ("anthropic/claude-opus-4.7", (1800, 1200), 65 * 43),
        ("claude-opus-4-10", (1800, 1200), 65 * 43),
        ("claude-opus-4-20250514", (4000, 4000), 39 * 39),
        ("claude-sonnet-5", (10_000, 10_000), 69 * 69),
        ("sonar-pro", (330, 291), 12 * 11),
        ("mistral-large-2512", (330, 291), 12 * 11 + 11),
        ("qwen3-vl-flash", (330, 291), 10 * 9 + 2),
        ("Qwen2.5-VL-72B-Instruct", (597, 566), 21 * 20 + 2),
        ("qwen3-vl-flash", (1, 1), 1 + 2),
        ("gemini-2.5-flash", (384, 384), 258),
        ("gemini-2.5-flash", (960, 540), 258 * 3 * 2),
        ("gemini-2.5-flash", (4000, 3000), 258 * 4 * 3),
        ("gpt-oss-120b", (330, 291), 0),
        ("pangu-vl", (330, 291), 85 + 170),
    ],
)
def test_other_makers_bill_by_rules_of_their_own(
    model: str, size: tuple[int, int], tokens: int
) -> None:
    assert image_tokens(model, size, "") == tokens


@pytest.mark.parametrize(
    ("model", "size", "tokens"),
    [
        ("gpt-5-nano", (128, 128), 24),
        ("gpt-5-nano", (239, 178), 72),
        ("gpt-5-nano", (1600, 1600), 2282),
        ("gpt-5-mini", (768, 576), 519),
        ("gpt-5-mini", (1600, 1600), 1826),
        ("gpt-5.6-luna", (330, 291), 133),
        ("gpt-5.4", (1600, 1600), 3001),
        ("gpt-4.1-nano", (540, 360), 503),
        ("o4-mini", (640, 480), 517),
        ("gpt-4o", (512, 512), 85 + 170),
    ],
)
def test_responses_bill_pictures_of_later_models_without_a_mark(
    model: str, size: tuple[int, int], tokens: int
) -> None:
    assert image_tokens(model, size, "", responses=True) == tokens


@given(
    priced=st.sampled_from(
        [
            ("gpt-4o", 1445),
            ("gpt-5-mini", 1845),
            ("gpt-5.4", 3001),
            ("grok-4", 1793),
            ("claude-opus-5", 4784),
            ("mistral-large", 2 * 3025),
            ("qwen3-vl", 2562),
            ("gemini-2.5-pro", 258 * 12 * 12),
        ]
    ),
    size=st.tuples(st.integers(1, 1 << 32), st.integers(1, 1 << 32)),
    detail=st.sampled_from(["low", "high", "auto", ""]),
)
def test_a_picture_costs_something_and_has_a_ceiling(
    priced: tuple[str, int], size: tuple[int, int], detail: str
) -> None:
    model, most = priced
    assert 0 < image_tokens(model, size, detail) <= most


@given(head=st.binary(max_size=64), start=st.sampled_from([b"", PNG[:8], b"\xff\xd8", WEBP]))
def test_no_bytes_raise(head: bytes, start: bytes) -> None:
    size_of(start + head)
