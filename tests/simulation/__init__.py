"""A seeded simulation of workers on one ledger: same seed, same run.

The ledger, its spool, the meter and the relay are the product's own. Simulated are time, the
threads, the disk's moods, the clients, the upstream, and death.
"""
