-- The upstream's objects that requests made and whose usage comes later (background responses,
-- batches, runs), and whose they are: kept after the usage is known, too, and after the request
-- was pruned. What is deferred is billed once, by these two names.
CREATE TABLE deferred (
    object_id       TEXT NOT NULL,
    upstream        TEXT NOT NULL,
    request_id      INTEGER NOT NULL,
    subscription_id INTEGER NOT NULL REFERENCES subscriptions (id),
    PRIMARY KEY (object_id, upstream)
) STRICT, WITHOUT ROWID;

CREATE INDEX deferred_by_request ON deferred (request_id);
