"""The shared DB layer: the host's board file, read and changed in one place.

``connection``, ``transaction``, ``statements``, ``leases``, ``outcomes``, ``journal``, ``promotion`` and ``cleanups``
use the standard library only, because the supervisor runs on them; ``schema``, ``migrations`` and ``queries`` use
sqlite-utils.
"""
