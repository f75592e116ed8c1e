"""When to ask again about what is deferred."""

from dataclasses import dataclass

GROWTH = 0.5
"""A pause is this part of the age: each one is half as long again as the one before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Pauses that grow with the age of what is asked about; all in seconds.

    They follow from the age alone, so they are the same after a restart.
    """

    first_s: float
    longest_s: float

    def pause_s(self, age_s: float) -> float:
        """Return how long to wait, of something that was accepted so long ago."""
        return min(self.longest_s, max(self.first_s, age_s * GROWTH))
