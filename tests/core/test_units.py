from proxy.core.units import grouped_units, shown_units, unit_name
from proxy.core.usage import Metric


def test_audio_is_in_seconds_and_all_else_in_whole_units() -> None:
    assert shown_units(Metric.AUDIO_SECONDS, 3_600_500_000) == "3600.5"
    assert grouped_units(Metric.AUDIO_SECONDS, 3_600_500_000) == "3,600.5"
    assert grouped_units(Metric.AUDIO_SECONDS, 60_000_000) == "60"
    assert unit_name(Metric.AUDIO_SECONDS) == "seconds"
    assert shown_units(Metric.TOKENS, 1_000_000) == 1_000_000
    assert grouped_units(Metric.TOKENS, 1_000_000) == "1,000,000"
    assert unit_name(Metric.IMAGES) == "units"
