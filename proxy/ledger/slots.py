"""The slots of time that sums are kept by: quarter hours (``unix_s // 900``) and days, UTC."""

from proxy.core.times import QUARTER_S, SECOND_US

QUARTER_US = QUARTER_S * SECOND_US
QUARTERS_A_DAY = 96
