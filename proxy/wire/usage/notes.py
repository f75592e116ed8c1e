"""The notes that a usage may carry: what was unsure, or wrong, in what the provider reported.

They are words that operators filter by: they stay as they are once released.
"""

from typing import Final

MALFORMED: Final = "malformed: a count is not a whole number"
NEGATIVE: Final = "contradictory: a count is negative"
CACHED_OVER_INPUT: Final = "contradictory: more cached tokens than input"
WRITTEN_OVER_INPUT: Final = "contradictory: more cache-write tokens than uncached input"
DETAIL_OVER_INPUT: Final = "contradictory: more audio and image tokens than input"
DETAIL_OVER_OUTPUT: Final = "contradictory: more audio and image tokens than output"
REASONING_OVER_OUTPUT: Final = "contradictory: more reasoning tokens than output"
TOTAL_BELOW_INPUT: Final = "contradictory: the total is below the input"
CACHED_NOT_IN_TOTAL: Final = "contradictory: the total is without the cached tokens"
REASONING_ADDED: Final = "rule R: the total adds reasoning to the completion"
AUDIO_ADDED: Final = "rule R: the total adds audio to the prompt"
CACHED_ADDED: Final = "rule R: the total adds cached tokens to the prompt"
OUTPUT_FROM_TOTAL: Final = "rule R: output is the total without the input"
INPUT_FROM_TOTAL: Final = "rule R: input is the total without the output"
CACHED_MODALITY: Final = "assumed: cached tokens are text before image before audio"
OTHER_MODELS: Final = "added: calls of other models inside the answer"
TOKENS_NOT_REPORTED: Final = "not reported: tokens; counted from the request"
SECONDS_NOT_REPORTED: Final = "not reported: seconds; measured from the request's audio"
END_READ: Final = "too long to be read: only the answer's end was"
NOT_READ: Final = "too long to be read: counted from the request"

MEASURED_BY_US: Final = frozenset({TOKENS_NOT_REPORTED, SECONDS_NOT_REPORTED, NOT_READ})
"""With one of these, a usage is our own measurement, and no provider's report."""
