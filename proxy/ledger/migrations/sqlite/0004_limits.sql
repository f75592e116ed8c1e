-- Budgets and rate limits. An owner is a subscription (twice its id) or a key (twice its id, and
-- one). Money is decimal text.

-- What operators set, over what the plan says: a JSON object; null is without limit.
CREATE TABLE limits (
    owner           INTEGER PRIMARY KEY,
    subscription_id INTEGER NOT NULL REFERENCES subscriptions (id),
    overrides       TEXT NOT NULL
) STRICT;

-- Where a limited owner stands. Of a window, NULLs: it is not kept. It follows from sums and open
-- requests, and is derived from them where it is missing or its basis (the price book, timezone
-- and plan by which it was reckoned) is no longer the one in force.
CREATE TABLE limit_states (
    owner             INTEGER PRIMARY KEY,
    subscription_id   INTEGER NOT NULL REFERENCES subscriptions (id),
    basis             TEXT NOT NULL,
    period_start_us   INTEGER,
    period_end_us     INTEGER,
    period_spent      TEXT,
    period_reserved   TEXT,
    day_start_us      INTEGER,
    day_end_us        INTEGER,
    day_spent         TEXT,
    day_reserved      TEXT,
    total_spent       TEXT,
    total_reserved    TEXT,
    running           INTEGER NOT NULL,
    requests_level_us INTEGER NOT NULL,
    tokens_level_us   INTEGER NOT NULL,
    levels_at_us      INTEGER NOT NULL,
    overruns          INTEGER NOT NULL,
    sums_kept         INTEGER NOT NULL
) STRICT;

CREATE INDEX limit_states_of_subscription ON limit_states (subscription_id);

-- A key with a budget has sums of its own, by quarter hour: prices may change, and they are
-- rated again. Kept from the first moment on that its limit_states says sums_kept.
CREATE TABLE sums_key_quarter (
    key_id    INTEGER NOT NULL,
    series_id INTEGER NOT NULL,
    quarter   INTEGER NOT NULL,
    quantity  INTEGER NOT NULL,
    PRIMARY KEY (key_id, series_id, quarter)
) STRICT, WITHOUT ROWID;

-- What is held against budgets until the request settles; NULL where nothing was limited.
ALTER TABLE requests ADD COLUMN reserved TEXT;
ALTER TABLE requests ADD COLUMN reserved_tokens INTEGER;
