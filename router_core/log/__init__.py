"""The durable event log: `port` says what it promises, `embedded` keeps it in files, `memory` serves tests."""
