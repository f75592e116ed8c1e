"""What an image costs: OpenAI's published tiles and patches, with the measured multipliers."""

import math
import re
import struct
from dataclasses import dataclass
from typing import Final

from proxy.tokens.image_size import Size

UNKNOWN_SIZE: Final = (512, 512)
"""What a remote image is taken for: the median of those recorded has one tile."""

_PATCH_PIXELS: Final = 32
_TILE_PIXELS: Final = 512
_LONG_SIDE_MAX: Final = 2048
_SHORT_SIDE_MAX: Final = 768


@dataclass(frozen=True, slots=True, kw_only=True)
class Patches:
    """So many tokens for each patch of 32 by 32 pixels, after scaling down to ``most``.

    ``detail`` changes nothing here: what is billed at ``low`` is what is billed at ``high``.
    """

    pattern: re.Pattern[str]
    multiplier: float
    most: int = 1536
    marked_in_responses: bool = True

    def tokens(self, size: Size, detail: str, *, responses: bool = False) -> int:
        """Give the tokens of an image of ``size`` in pixels, and of the mark that it has."""
        del detail
        patches = self._patches(*size)
        if responses and not self.marked_in_responses:
            return math.ceil(patches * _single(self.multiplier))
        return math.ceil(patches * self.multiplier) + 1

    def _patches(self, width: float, height: float) -> int:
        patches = _in(_PATCH_PIXELS, width) * _in(_PATCH_PIXELS, height)
        if patches <= self.most:
            return patches
        scale = math.sqrt(self.most * _PATCH_PIXELS**2 / (width * height))
        across, down = width * scale / _PATCH_PIXELS, height * scale / _PATCH_PIXELS
        scale *= min(max(1, math.floor(across)) / across, max(1, math.floor(down)) / down)
        return min(
            _in(_PATCH_PIXELS, width * scale) * _in(_PATCH_PIXELS, height * scale), self.most
        )


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


_PRICES: Final[tuple[Patches | Tiles, ...]] = (
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
    Tiles(pattern=re.compile(r""), base=85, tile=170),
)


def image_tokens(model: str, size: Size | None, detail: str, *, responses: bool = False) -> int:
    """Give the tokens of one image for ``model`` (bare) at ``detail`` (low, high or auto).

    ``responses`` tells that it stands in a ``/responses`` request, where some count differently.
    """
    price = next(price for price in _PRICES if price.pattern.match(model))
    return price.tokens(size or UNKNOWN_SIZE, detail, responses=responses)
