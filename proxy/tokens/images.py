"""What an image costs: the tiles and patches that makers publish, as measured on their bills."""

import math
import re
import struct
from dataclasses import dataclass
from typing import Final

from proxy.tokens.image_size import Size

UNKNOWN_SIZE: Final = (300, 300)
"""What a remote image is taken for that tells nothing of its size.

Most of the ten recorded have, by their bills, one tile and 48 to 130 patches of 32 pixels. With
256 to 300 pixels a side the median error over them is 14 to 16 percent; with 512 it was 91.
"""

_TILE_PIXELS: Final = 512
_LONG_SIDE_MAX: Final = 2048
_SHORT_SIDE_MAX: Final = 768


@dataclass(frozen=True, slots=True, kw_only=True)
class Patches:
    """So many tokens for each patch of ``side`` pixels squared, after scaling down to ``most``.

    ``mark`` and ``row_mark`` are tokens that a picture, or each row of patches, has besides. A
    side that fills a patch in part counts as a whole one, or is rounded to the ``nearest``.
    ``detail`` changes nothing here: what is billed at ``low`` is what is billed at ``high``.
    """

    pattern: re.Pattern[str]
    multiplier: float = 1.0
    side: int = 32
    most: int = 1536
    mark: int = 1
    row_mark: int = 0
    nearest: bool = False
    marked_in_responses: bool = True

    def tokens(self, size: Size, detail: str, *, responses: bool = False) -> int:
        """Give the tokens of an image of ``size`` in pixels, and of the marks that it has."""
        del detail
        across, down = self._grid(*size)
        patches = min(across * down, self.most)
        if responses and not self.marked_in_responses:
            return math.ceil(patches * _single(self.multiplier))
        marks = self.mark + min(down, self.most) * self.row_mark
        return math.ceil(patches * self.multiplier) + marks

    def _grid(self, width: float, height: float) -> tuple[int, int]:
        across, down = self._patches(width), self._patches(height)
        if across * down <= self.most:
            return across, down
        scale = math.sqrt(self.most * self.side**2 / (width * height))
        wide, high = width * scale / self.side, height * scale / self.side
        scale *= min(max(1, math.floor(wide)) / wide, max(1, math.floor(high)) / high)
        return self._patches(width * scale), self._patches(height * scale)

    def _patches(self, pixels: float) -> int:
        return max(1, round(pixels / self.side)) if self.nearest else _in(self.side, pixels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiles:
    """A base, and so many tokens for each tile of 512 by 512 pixels."""

    pattern: re.Pattern[str]
    base: int
    tile: int

    def tokens(self, size: Size, detail: str, *, responses: bool = False) -> int:
        """Give the tokens of an image of ``size`` in pixels; every endpoint bills alike."""
        del responses
        if detail == "low":
            return self.base
        size = _scaled(size, _LONG_SIDE_MAX / max(size))
        width, height = _scaled(size, _SHORT_SIDE_MAX / min(size))
        return self.base + self.tile * _in(_TILE_PIXELS, width) * _in(_TILE_PIXELS, height)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overviewed:
    """As many tokens for each of at most ``most`` tiles, and for an overview of several."""

    pattern: re.Pattern[str]
    side: int
    tile: int
    most: int
    mark: int = 0

    def tokens(self, size: Size, detail: str, *, responses: bool = False) -> int:
        """Give the tokens of an image of ``size`` in pixels."""
        del detail, responses
        width, height = size
        tiles = min(self.most, _in(self.side, width) * _in(self.side, height))
        return self.tile * (tiles + (tiles > 1)) + self.mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Crops:
    """As many tokens for each crop, whose side depends on the picture's shorter side."""

    pattern: re.Pattern[str]
    tokens_each: int = 258
    whole: int = 384
    least: int = 256
    largest: int = 768
    longest: int = 3072

    def tokens(self, size: Size, detail: str, *, responses: bool = False) -> int:
        """Give the tokens of an image of ``size`` in pixels."""
        del detail, responses
        if max(size) <= self.whole:
            return self.tokens_each
        width, height = size = _scaled(size, self.longest / max(size))
        side = min(self.largest, max(self.least, math.floor(min(size) / 1.5)))
        return self.tokens_each * _in(side, width) * _in(side, height)


def _scaled(size: Size, scale: float) -> Size:
    """Scale down to whole pixels: a side that ends half a pixel over a tile needs no other."""
    if scale >= 1:
        return size
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _single(number: float) -> float:
    """Give ``number`` in single precision, as measured: 110 patches at 1.2 are 133 tokens."""
    return float(struct.unpack("f", struct.pack("f", number))[0])


def _in(side: int, pixels: float) -> int:
    return max(1, math.ceil(round(pixels / side, 9)))


def _anywhere(pattern: str) -> re.Pattern[str]:
    """Match within a model's name, which each who serves it spells differently."""
    return re.compile(rf".*({pattern})", re.IGNORECASE)


_Price = Patches | Tiles | Overviewed | Crops

_OPENAI: Final[tuple[_Price, ...]] = (
    Patches(pattern=re.compile(r"gpt-4\.1-mini"), multiplier=1.62),
    Patches(pattern=re.compile(r"gpt-4\.1-nano"), multiplier=2.46),
    Patches(pattern=re.compile(r"o4-mini"), multiplier=1.72),
    Patches(pattern=re.compile(r"gpt-5-mini"), multiplier=1.2, marked_in_responses=False),
    Patches(pattern=re.compile(r"gpt-5-nano"), multiplier=1.5, marked_in_responses=False),
    Patches(
        pattern=re.compile(r"gpt-5\.[2-9]"), multiplier=1.2, most=2500, marked_in_responses=False
    ),
    Tiles(pattern=re.compile(r"gpt-4o-mini"), base=2833, tile=5667),
    Tiles(pattern=re.compile(r"gpt-5"), base=70, tile=140),
    Tiles(pattern=re.compile(r"o[13]"), base=75, tile=150),
    Tiles(pattern=re.compile(r"computer-use"), base=65, tile=129),
)

_OTHERS: Final[tuple[_Price, ...]] = (
    Patches(pattern=_anywhere("gpt-oss"), multiplier=0, mark=0),
    Overviewed(pattern=_anywhere("grok"), side=448, tile=256, most=6, mark=1),
    Overviewed(pattern=_anywhere("llama-?4"), side=336, tile=145, most=16),
    Patches(
        pattern=_anywhere(r"claude-(opus-4[-.]([7-9]|\d\d(?!\d))|[a-z]+-[5-9])"),
        side=28,
        most=4784,
        mark=0,
    ),
    Patches(pattern=_anywhere("claude|sonar"), side=28, most=1568, mark=0),
    Patches(pattern=_anywhere("(mi|mini|magi|pix)stral"), side=28, most=3025, mark=0, row_mark=1),
    Patches(pattern=_anywhere("qwen-?2"), side=28, most=1280, mark=2, nearest=True),
    Patches(pattern=_anywhere("qwen|mimo"), most=2560, mark=2, nearest=True),
    Crops(pattern=_anywhere("gemini")),
)
"""As their makers document them; what marks a picture was measured.

xAI: 256 tokens for each of at most six tiles, and for one more; a picture of one tile has no
other. Anthropic: width by height by 750, which its bills round to patches. Google: crops. Meta,
Mistral and Qwen: their published encoders. The open GPT reads no pictures.
"""

_PRICES: Final[tuple[_Price, ...]] = (
    *_OPENAI,
    *_OTHERS,
    Tiles(pattern=re.compile(r""), base=85, tile=170),
)


def image_tokens(model: str, size: Size | None, detail: str, *, responses: bool = False) -> int:
    """Give the tokens of one image for ``model`` (bare) at ``detail`` (low, high or auto).

    ``responses`` tells that it stands in a ``/responses`` request, where some count differently.
    """
    price = next(price for price in _PRICES if price.pattern.match(model))
    return price.tokens(size or UNKNOWN_SIZE, detail, responses=responses)
