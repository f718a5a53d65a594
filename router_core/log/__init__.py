"""The durable event log: `port` says what it promises, `embedded` keeps it on SQLite, `memory` serves tests."""
