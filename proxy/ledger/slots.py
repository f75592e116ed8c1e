"""The slots of time that sums are kept by: quarter hours (``unix_s // 900``) and days, UTC."""

QUARTER_US = 900 * 1_000_000
QUARTERS_A_DAY = 96
