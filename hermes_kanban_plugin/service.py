"""The dispatcher as a service of the user: a systemd unit or a launchd agent that does not kill the supervisors.

The defaults of both end every process of the service when it stops or restarts, which is how workers are lost today
(failure mode C1). ``KillMode=process`` and ``AbandonProcessGroup`` leave them alone.
"""

from __future__ import annotations

import os
import plistlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from hermes_kanban_plugin.errors import ServiceFailed
from hermes_kanban_plugin.locations import hermes_root

UNIT_NAME = "hermes-kanban-dispatcher.service"
AGENT_NAME = "org.hermes-kanban.dispatcher"
_KEPT = ("HERMES_HOME", "HERMES_KANBAN_HOME", "HERMES_BIN", "PATH")


class Service(NamedTuple):
    """A service file and the commands that make the system take it up, look at it and let it go."""

    path: Path
    text: str
    install: list[list[str]]
    status: list[str]
    uninstall: list[list[str]]


def describe(platform: str = sys.platform) -> Service:
    """Return the service for this user, kanban home and Python; nothing is written.

    Args:
        platform: ``linux`` or ``darwin``.

    Raises:
        ServiceFailed: this system has neither systemd nor launchd.
    """
    if platform == "linux":
        return _systemd()
    if platform == "darwin":
        return _launchd()
    raise ServiceFailed(f"there is no service for {platform}; run it in a terminal: hermes-kanban dispatcher")


def install(service: Service) -> bool:
    """Write the file and start the service; returns False when the service manager is not there to be told.

    Raises:
        ServiceFailed: it refused.
    """
    service.path.parent.mkdir(parents=True, exist_ok=True)
    service.path.write_text(service.text, encoding="utf-8")
    if shutil.which(service.status[0]) is None:
        return False
    for command in service.install:
        _run(command)
    return True


def uninstall(service: Service) -> bool:
    """Stop the service and remove its file; workers go on. Returns whether there was a file."""
    if not service.path.exists():
        return False
    managed = shutil.which(service.status[0]) is not None
    stop, *after = service.uninstall
    if managed:
        subprocess.run(stop, capture_output=True, check=False)
    service.path.unlink()
    for command in after if managed else []:
        subprocess.run(command, capture_output=True, check=False)
    return True


def status(service: Service) -> str:
    """Return what the service manager says, in one line."""
    if not service.path.exists():
        return f"not installed (no file {service.path}); install it with: hermes-kanban service install"
    if shutil.which(service.status[0]) is None:
        return f"installed at {service.path}, but {service.status[0]} is not there to run it"
    done = subprocess.run(service.status, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return "active"
    return (done.stdout or done.stderr).strip().splitlines()[0] if (done.stdout or done.stderr).strip() else "unknown"


def _command() -> list[str]:
    return [sys.executable, "-m", "hermes_kanban_plugin.cli.main", "dispatcher"]


def _environment() -> dict[str, str]:
    found = {name: os.environ[name] for name in _KEPT if os.environ.get(name)}
    return {"HERMES_HOME": str(hermes_root()), **found}


def _systemd() -> Service:
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    lines = [
        "[Unit]",
        "Description=Hermes kanban dispatcher",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=exec",
        f"ExecStart={' '.join(_quote(word) for word in _command())}",
        *(f"Environment={_quote(f'{name}={value}', dollar='$')}" for name, value in sorted(_environment().items())),
        "# Supervisors and workers outlive the dispatcher: only the main process is signalled.",
        "KillMode=process",
        "SendSIGKILL=yes",
        "TimeoutStopSec=30",
        "OOMPolicy=continue",
        "Restart=always",
        "RestartSec=1",
        "",
        "[Install]",
        "WantedBy=default.target",
        "",
    ]
    manager = ["systemctl", "--user"]
    return Service(
        path=Path(base) / "systemd" / "user" / UNIT_NAME,
        text="\n".join(lines),
        install=[[*manager, "daemon-reload"], [*manager, "enable", "--now", UNIT_NAME]],
        status=[*manager, "is-active", UNIT_NAME],
        uninstall=[[*manager, "disable", "--now", UNIT_NAME], [*manager, "daemon-reload"]],
    )


def _launchd() -> Service:
    path = Path(os.path.expanduser("~")) / "Library" / "LaunchAgents" / f"{AGENT_NAME}.plist"
    agent = {
        "Label": AGENT_NAME,
        "ProgramArguments": _command(),
        "EnvironmentVariables": _environment(),
        "RunAtLoad": True,
        "KeepAlive": True,
        # Supervisors and workers outlive the dispatcher: launchd must not clean its group up.
        "AbandonProcessGroup": True,
        "ExitTimeOut": 30,
    }
    return Service(
        path=path,
        text=plistlib.dumps(agent).decode(),
        install=[["launchctl", "load", "-w", str(path)]],
        status=["launchctl", "list", AGENT_NAME],
        uninstall=[["launchctl", "unload", "-w", str(path)]],
    )


def _quote(word: str, dollar: str = "$$") -> str:
    """Return a word as a systemd unit wants it: quoted, with ``%`` doubled so that it is no specifier.

    ``$`` is doubled on command lines, where it would be a variable, and left alone in ``Environment=``.
    """
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", dollar)
    return f'"{escaped}"' if any(char in escaped for char in " \t'\"\\") else escaped


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ServiceFailed(
            f"{' '.join(command)} failed: {' '.join((done.stderr or done.stdout).split())}; the service file is "
            "written, start it yourself when the service manager is there"
        )
