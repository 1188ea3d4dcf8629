"""Whether a profile's worker would have the tools to complete or block its task, seen without starting it.

Rule source: failure mode D5.
"""

from __future__ import annotations

from hermes_kanban_plugin import host
from hermes_kanban_plugin.configuration import read_yaml
from hermes_kanban_plugin.errors import InvalidSettings

TOOLSET = "kanban"


def hides_board_tools(profile: str) -> bool:
    """Say whether a profile's configuration takes the kanban tools away from its workers.

    The host gives them to every worker, and then takes away what ``agent.disabled_toolsets`` names. A configuration
    that cannot be read says nothing.
    """
    home = host.profile_home(profile)
    if home is None:
        return False
    path = home / "config.yaml"
    try:
        if b"disabled_toolsets" not in path.read_bytes():
            return False  # almost always, and without parsing anything
        agent = read_yaml(path).get("agent")
    except (OSError, InvalidSettings):
        return False
    hidden = agent.get("disabled_toolsets") if isinstance(agent, dict) else None
    return isinstance(hidden, list) and TOOLSET in hidden
