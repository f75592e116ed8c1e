-- The first schema. Times (_us) are microseconds of Unix time, UTC. Quantities are whole units,
-- of audio_seconds microseconds. Money, where a later migration keeps any, is decimal text.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Grows with every change of keys, subscriptions, plans and books.
INSERT INTO meta (name, value) VALUES ('configuration_sequence', 1);

CREATE TABLE customers (
    id            INTEGER PRIMARY KEY,
    external_id   TEXT NOT NULL UNIQUE,
    name          TEXT,
    email         TEXT,
    currency      TEXT NOT NULL,
    timezone      TEXT NOT NULL,
    created_at_us INTEGER NOT NULL
) STRICT;

CREATE TABLE subscriptions (
    id            INTEGER PRIMARY KEY,
    external_id   TEXT NOT NULL UNIQUE,
    customer_id   INTEGER NOT NULL REFERENCES customers (id),
    started_at_us INTEGER NOT NULL,
    ended_at_us   INTEGER
) STRICT;

CREATE INDEX subscriptions_of_customer ON subscriptions (customer_id);

-- A subscription on one plan, from-to; the last one has no end.
CREATE TABLE segments (
    id              INTEGER PRIMARY KEY,
    subscription_id INTEGER NOT NULL REFERENCES subscriptions (id),
    plan            TEXT NOT NULL,
    starts_at_us    INTEGER NOT NULL,
    ends_at_us      INTEGER,
    UNIQUE (subscription_id, starts_at_us)
) STRICT;

CREATE TABLE api_keys (
    id              INTEGER PRIMARY KEY,
    digest          BLOB NOT NULL UNIQUE,
    prefix          TEXT NOT NULL,
    name            TEXT,
    subscription_id INTEGER NOT NULL REFERENCES subscriptions (id),
    created_at_us   INTEGER NOT NULL,
    last_used_at_us INTEGER,
    revoked_at_us   INTEGER
) STRICT;

CREATE INDEX api_keys_of_subscription ON api_keys (subscription_id);

-- Ids are never used again: the requests of a worker that died must not be taken for a new one's.
CREATE TABLE workers (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    pid           INTEGER NOT NULL,
    started_at_us INTEGER NOT NULL
) STRICT;

-- One row a call. Prompts and answers are never here; raw_usage is the provider's usage object.
-- The defaults let a settlement be written as an upsert (one statement for a whole batch).
CREATE TABLE requests (
    id               INTEGER PRIMARY KEY,
    worker_id        INTEGER NOT NULL DEFAULT 0,
    key_id           INTEGER REFERENCES api_keys (id),
    key_digest       BLOB,
    subscription_id  INTEGER REFERENCES subscriptions (id),
    segment_id       INTEGER REFERENCES segments (id),
    opened_at_us     INTEGER NOT NULL DEFAULT 0,
    settled_at_us    INTEGER,
    state            TEXT NOT NULL,
    endpoint         TEXT NOT NULL DEFAULT '',
    model_requested  TEXT NOT NULL DEFAULT '',
    stream           INTEGER NOT NULL DEFAULT 0,
    body_bytes       INTEGER NOT NULL DEFAULT 0,
    attempt          INTEGER NOT NULL DEFAULT 0,
    model            TEXT,
    upstream_status  INTEGER,
    service_tier     TEXT,
    context_class    TEXT,
    reasoning_tokens INTEGER,
    notes            TEXT,
    raw_usage        BLOB
) STRICT;

-- What is still running, by subscription and opening: as small as what is running.
CREATE INDEX requests_unsettled ON requests (subscription_id, opened_at_us, state)
WHERE settled_at_us IS NULL;

-- Passthrough calls whose key has not been seen to work yet.
CREATE INDEX requests_unowned ON requests (key_digest)
WHERE subscription_id IS NULL;

-- The dimensions of a sum, in canonical form. Absent ones are ''.
CREATE TABLE series (
    id              INTEGER PRIMARY KEY,
    segment_id      INTEGER NOT NULL REFERENCES segments (id),
    metric          TEXT NOT NULL,
    type            TEXT NOT NULL,
    model           TEXT NOT NULL,
    model_requested TEXT NOT NULL,
    service_tier    TEXT NOT NULL,
    context_class   TEXT NOT NULL,
    source          TEXT NOT NULL,
    UNIQUE (segment_id, model, model_requested, service_tier, context_class, source, metric, type)
) STRICT;

-- The unit that is billed. Its transaction id is "{request id}.{n}", and kept as these two
-- numbers; an event that an outsider posts has an id of its own in request_id, n = 0 and its
-- poster's transaction_id. seq is the order in which events came to be known.
CREATE TABLE events (
    seq             INTEGER PRIMARY KEY,
    subscription_id INTEGER NOT NULL REFERENCES subscriptions (id),
    request_id      INTEGER NOT NULL,
    n               INTEGER NOT NULL,
    series_id       INTEGER NOT NULL REFERENCES series (id),
    occurred_at_us  INTEGER NOT NULL,
    quantity        INTEGER NOT NULL,
    transaction_id  TEXT
) STRICT;

-- Request ids grow with time: this is also a subscription's events by time.
CREATE UNIQUE INDEX events_once ON events (subscription_id, request_id, n);

CREATE UNIQUE INDEX events_posted_once ON events (subscription_id, transaction_id)
WHERE transaction_id IS NOT NULL;

-- Sums of the events of a series by quarter hour (unix_s // 900) and by day (unix_s // 86400).
-- One moves only in the transaction in which its event was new.
CREATE TABLE sums_quarter (
    series_id INTEGER NOT NULL,
    quarter   INTEGER NOT NULL,
    quantity  INTEGER NOT NULL,
    PRIMARY KEY (series_id, quarter)
) STRICT, WITHOUT ROWID;

CREATE TABLE sums_day (
    series_id INTEGER NOT NULL,
    day       INTEGER NOT NULL,
    quantity  INTEGER NOT NULL,
    PRIMARY KEY (series_id, day)
) STRICT, WITHOUT ROWID;

-- Price books as adopted; the last one is in force.
CREATE TABLE books (
    sequence      INTEGER PRIMARY KEY,
    text          TEXT NOT NULL,
    sha256        TEXT NOT NULL,
    adopted_at_us INTEGER NOT NULL
) STRICT;
