"""Runs on other versions of the host are asked for by name: ``make test-hosts``, or ``HOSTS="0.13.0" pytest …``."""

from __future__ import annotations

from tests.versions.environments import chosen

collect_ignore = [] if chosen() else ["test_versions.py"]
