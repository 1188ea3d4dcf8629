"""The command ``hermes-kanban``."""
