-- Closed periods: what was billed, with all that it was made from. A row never changes and never
-- goes, so ids have no gaps; the invoice's number is made of the id. Money is decimal text.
CREATE TABLE closed_periods (
    id              INTEGER PRIMARY KEY,
    number          TEXT NOT NULL UNIQUE,
    subscription_id INTEGER NOT NULL REFERENCES subscriptions (id),
    starts_at_us    INTEGER NOT NULL,
    ends_at_us      INTEGER NOT NULL,
    timezone        TEXT NOT NULL,
    closed_at_us    INTEGER NOT NULL,
    book_sequence   INTEGER NOT NULL REFERENCES books (sequence),
    book_sha256     TEXT NOT NULL,
    currency        TEXT NOT NULL,
    amount          TEXT NOT NULL,
    precise_amount  TEXT NOT NULL,
    sums            TEXT NOT NULL,  -- JSON: the series and their sums, as rated
    invoice         TEXT NOT NULL   -- JSON: as it was sent out
) STRICT;

-- How far a subscription is closed, and its closed periods in order.
CREATE UNIQUE INDEX closed_periods_in_order ON closed_periods (subscription_id, ends_at_us);

CREATE TRIGGER closed_periods_stay BEFORE UPDATE ON closed_periods
BEGIN SELECT raise(ABORT, 'a closed period never changes'); END;

CREATE TRIGGER closed_periods_never_go BEFORE DELETE ON closed_periods
BEGIN SELECT raise(ABORT, 'a closed period never goes'); END;

-- The latest end of any closed period: only what is older can be late.
INSERT INTO meta (name, value) VALUES ('closed_through_us', 0);

-- What was added to sums of closed periods. It is charged with the next period that closes.
CREATE TABLE late_sums (
    id              INTEGER PRIMARY KEY,
    subscription_id INTEGER NOT NULL REFERENCES subscriptions (id),
    series_id       INTEGER NOT NULL REFERENCES series (id),
    quarter         INTEGER NOT NULL,
    quantity        INTEGER NOT NULL,
    billed_in       INTEGER REFERENCES closed_periods (id)
) STRICT;

CREATE INDEX late_sums_unbilled ON late_sums (subscription_id) WHERE billed_in IS NULL;
CREATE INDEX late_sums_by_time ON late_sums (subscription_id, quarter);
