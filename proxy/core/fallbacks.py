"""Where a type has no price of its own: which price is charged instead, in order.

A cached or written kind is charged as its uncached kind; a modality without any price is charged
as text. That never makes anything free, and "omitted: charged as input" holds for all.
"""

from functools import lru_cache

from proxy.core.prices import PriceKey
from proxy.core.usage import Metric, TokenType

_T = TokenType

TOKEN_FALLBACKS: dict[str, tuple[TokenType, ...]] = {
    _T.INPUT: (),
    _T.CACHED_INPUT: (_T.INPUT,),
    _T.CACHE_WRITE: (_T.INPUT,),
    _T.CACHE_WRITE_1H: (_T.CACHE_WRITE, _T.INPUT),
    _T.CACHE_WRITE_12H: (_T.CACHE_WRITE, _T.INPUT),
    _T.OUTPUT: (),
    _T.INPUT_AUDIO: (_T.INPUT,),
    _T.CACHED_INPUT_AUDIO: (_T.INPUT_AUDIO, _T.CACHED_INPUT, _T.INPUT),
    _T.OUTPUT_AUDIO: (_T.OUTPUT,),
    _T.INPUT_IMAGE: (_T.INPUT,),
    _T.CACHED_INPUT_IMAGE: (_T.INPUT_IMAGE, _T.CACHED_INPUT, _T.INPUT),
    _T.OUTPUT_IMAGE: (_T.OUTPUT,),
}

ANY = "*"


@lru_cache(maxsize=4096)
def candidates(metric: Metric, type_: str) -> tuple[PriceKey, ...]:
    """Return the keys under which the price of a type is looked for, most special first."""
    match metric:
        case Metric.TOKENS:
            types: tuple[str, ...] = (type_, *TOKEN_FALLBACKS.get(type_, ()))
        case Metric.IMAGES:
            quality, _, size = type_.partition("/")
            types = (type_, f"{quality}/{ANY}", f"{ANY}/{size}", ANY)
        case Metric.TOOL_CALLS:
            types = (type_, ANY)
        case _:
            types = ("",)
    return tuple((metric, candidate) for candidate in types)
