-- A ledger as schema version 1 left it, with data of every kind: what an upgrade has to carry over.
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
INSERT INTO "api_keys" VALUES(1,X'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA','wb-acme',NULL,1,1796083200000000,NULL,NULL);
INSERT INTO "api_keys" VALUES(2,X'BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB','wb-beta','old',2,1796083200000000,1796083200000001,1796083300000000);
CREATE TABLE books (
    sequence      INTEGER PRIMARY KEY,
    text          TEXT NOT NULL,
    sha256        TEXT NOT NULL,
    adopted_at_us INTEGER NOT NULL
) STRICT;
INSERT INTO "books" VALUES(1,'currency = "USD"','dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd',1796083200000000);
CREATE TABLE customers (
    id            INTEGER PRIMARY KEY,
    external_id   TEXT NOT NULL UNIQUE,
    name          TEXT,
    email         TEXT,
    currency      TEXT NOT NULL,
    timezone      TEXT NOT NULL,
    created_at_us INTEGER NOT NULL
) STRICT;
INSERT INTO "customers" VALUES(1,'acme','Acme','a@acme.example','EUR','Europe/Berlin',1796083200000000);
INSERT INTO "customers" VALUES(2,'beta',NULL,NULL,'USD','UTC',1796083200000000);
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
INSERT INTO "events" VALUES(1,1,100,0,1,1796083201000000,1,NULL);
INSERT INTO "events" VALUES(2,1,100,1,2,1796083201000000,10,NULL);
INSERT INTO "events" VALUES(3,1,100,2,3,1796083201000000,5,NULL);
INSERT INTO "events" VALUES(4,1,101,0,4,1796169601000000,1,NULL);
INSERT INTO "events" VALUES(5,1,101,1,5,1796169601000000,7,NULL);
INSERT INTO "events" VALUES(6,2,900,0,6,1796083205000000,11,'posted-1');
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "meta" VALUES('configuration_sequence',7);
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
INSERT INTO "requests" VALUES(100,3,1,NULL,1,1,1796083201000000,1796083202000000,'exact','chat.completions','gpt-4o',1,400,0,'gpt-4o-2024-08-06',200,'default','',3,NULL,X'7B7D');
INSERT INTO "requests" VALUES(101,3,1,NULL,1,2,1796169601000000,1796169602000000,'partial','chat.completions','gpt-4o',1,400,1,'gpt-4o-2024-08-06',200,'default','',0,'output_estimated',NULL);
INSERT INTO "requests" VALUES(102,3,1,NULL,1,2,1796169603000000,NULL,'open','chat.completions','gpt-4o',0,401,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "requests" VALUES(103,3,1,NULL,1,2,1796169604000000,NULL,'deferred','responses','gpt-4o',0,401,0,'gpt-4o',200,'default','',0,NULL,NULL);
INSERT INTO "requests" VALUES(104,3,NULL,X'CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC',NULL,NULL,1796169605000000,1796169606000000,'failed','models','',0,0,0,NULL,401,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE segments (
    id              INTEGER PRIMARY KEY,
    subscription_id INTEGER NOT NULL REFERENCES subscriptions (id),
    plan            TEXT NOT NULL,
    starts_at_us    INTEGER NOT NULL,
    ends_at_us      INTEGER,
    UNIQUE (subscription_id, starts_at_us)
) STRICT;
INSERT INTO "segments" VALUES(1,1,'default',1796083200000000,1796169600000000);
INSERT INTO "segments" VALUES(2,1,'pro',1796169600000000,NULL);
INSERT INTO "segments" VALUES(3,2,'default',1796083200000000,NULL);
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
INSERT INTO "series" VALUES(1,1,'requests','exact','gpt-4o-2024-08-06','gpt-4o','default','','exact');
INSERT INTO "series" VALUES(2,1,'tokens','input','gpt-4o-2024-08-06','gpt-4o','default','','exact');
INSERT INTO "series" VALUES(3,1,'tokens','output','gpt-4o-2024-08-06','gpt-4o','default','','exact');
INSERT INTO "series" VALUES(4,2,'requests','partial','gpt-4o-2024-08-06','gpt-4o','default','','partial');
INSERT INTO "series" VALUES(5,2,'tokens','output','gpt-4o-2024-08-06','gpt-4o','default','','partial');
INSERT INTO "series" VALUES(6,3,'tokens','input','gpt-4o','gpt-4o','default','','exact');
CREATE TABLE subscriptions (
    id            INTEGER PRIMARY KEY,
    external_id   TEXT NOT NULL UNIQUE,
    customer_id   INTEGER NOT NULL REFERENCES customers (id),
    started_at_us INTEGER NOT NULL,
    ended_at_us   INTEGER
) STRICT;
INSERT INTO "subscriptions" VALUES(1,'acme',1,1796083200000000,NULL);
INSERT INTO "subscriptions" VALUES(2,'beta-eu',2,1796083200000000,1796169600000000);
CREATE TABLE sums_day (
    series_id INTEGER NOT NULL,
    day       INTEGER NOT NULL,
    quantity  INTEGER NOT NULL,
    PRIMARY KEY (series_id, day)
) STRICT, WITHOUT ROWID;
INSERT INTO "sums_day" VALUES(1,20788,1);
INSERT INTO "sums_day" VALUES(2,20788,10);
INSERT INTO "sums_day" VALUES(3,20788,5);
INSERT INTO "sums_day" VALUES(4,20789,1);
INSERT INTO "sums_day" VALUES(5,20789,7);
INSERT INTO "sums_day" VALUES(6,20788,11);
CREATE TABLE sums_quarter (
    series_id INTEGER NOT NULL,
    quarter   INTEGER NOT NULL,
    quantity  INTEGER NOT NULL,
    PRIMARY KEY (series_id, quarter)
) STRICT, WITHOUT ROWID;
INSERT INTO "sums_quarter" VALUES(1,1995648,1);
INSERT INTO "sums_quarter" VALUES(2,1995648,10);
INSERT INTO "sums_quarter" VALUES(3,1995648,5);
INSERT INTO "sums_quarter" VALUES(4,1995744,1);
INSERT INTO "sums_quarter" VALUES(5,1995744,7);
INSERT INTO "sums_quarter" VALUES(6,1995648,11);
CREATE TABLE workers (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    pid           INTEGER NOT NULL,
    started_at_us INTEGER NOT NULL
) STRICT;
INSERT INTO "workers" VALUES(3,4242,1796083200000000);
CREATE INDEX subscriptions_of_customer ON subscriptions (customer_id);
CREATE INDEX api_keys_of_subscription ON api_keys (subscription_id);
CREATE INDEX requests_unsettled ON requests (subscription_id, opened_at_us, state)
WHERE settled_at_us IS NULL;
CREATE INDEX requests_unowned ON requests (key_digest)
WHERE subscription_id IS NULL;
CREATE UNIQUE INDEX events_once ON events (subscription_id, request_id, n);
CREATE UNIQUE INDEX events_posted_once ON events (subscription_id, transaction_id)
WHERE transaction_id IS NOT NULL;
PRAGMA application_id = 1463962673;
PRAGMA user_version = 1;
