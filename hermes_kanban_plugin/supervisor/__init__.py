"""The supervisor: one small process per run that starts the worker, keeps its lease and buries it.

Everything it imports is the standard library or our own modules that say so; a test starts it and looks.
"""
