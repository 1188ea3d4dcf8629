"""Keeping boards small, safe and readable: retention, snapshots, export and figures."""
