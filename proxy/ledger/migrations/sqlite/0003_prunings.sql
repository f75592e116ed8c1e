-- Up to when a subscription's events were pruned: its sums of that time stand for themselves, and
-- are held against the closed periods.
CREATE TABLE prunings (
    subscription_id INTEGER PRIMARY KEY REFERENCES subscriptions (id),
    through_us      INTEGER NOT NULL,
    pruned_at_us    INTEGER NOT NULL
) STRICT;
