"""Our flags are the host's flags: compared with the parser of the real host."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

import pytest

from hermes_kanban_plugin.cli.parser import build

pytestmark = pytest.mark.host

VERBS = ("create", "list", "show", "runs", "claim", "heartbeat", "complete", "block", "unblock", "link", "dispatch",
         "reclaim", "init", "edit", "schedule")  # fmt: skip
# Verbs that the host does not have.
OURS = ("events", "scan", "dispatcher", "service", "setup", "status", "doctor", "stop", "accept", "why", "pause",
        "resume", "cancel", "backup", "restore", "export", "completion", "outages")  # fmt: skip
# Verbs that the host has too; there its own stay (host/kanban_words.py), and ours answer another question.
SAME_NAME = ("watch", "stats", "gc", "diagnostics")

# What the host has and we do not, and why.
LEFT_OUT = {
    ("create", "--project"): "projects belong to the host, which resolves them into a repository and a branch",
    ("list", "--session"): "a filter over the host's chat sessions; a worker's own tasks show with --assignee",
    ("list", "--sort"): "one order, best first, which is the order of dispatch",
    ("list", "--workflow-template-id"): "workflows belong to the host",
    ("list", "--step-key"): "workflows belong to the host",
    ("show", "--state-type"): "a filter over runs that --json and jq answer",
    ("show", "--state-name"): "a filter over runs that --json and jq answer",
    ("runs", "--state-type"): "a filter over runs that --json and jq answer",
    ("runs", "--state-name"): "a filter over runs that --json and jq answer",
    ("schedule", "--ids"): "each task has a time of its own",
    ("edit", "--result"): "handed to the host as it stands, which changes the result of a finished task",
    ("edit", "--summary"): "goes with --result",
    ("edit", "--metadata"): "goes with --result",
}
# What we have beyond the host, and why.
ADDED = {
    ("claim", "--json"): "a script needs the run id and the lock",
    ("create", "--idempotency-scope"): "an alert that comes again needs a new card (failure mode D10)",
    ("create", "--start-at"): "a task that waits for a time (failure mode D11)",
    ("create", "--start-in"): "likewise",
    ("list", "--why"): "why each task does not run, in the list itself (failure mode E9)",
    ("schedule", "--at"): "likewise",
    ("schedule", "--in"): "likewise",
    ("schedule", "--dry-run"): "what it would do",
    ("schedule", "--json"): "every command of an operator prints JSON",
    ("init", "--json"): "a script needs the path",
    ("complete", "--artifact"): "command workers hand over files, as the agent tool does",
    ("reclaim", "--stale"): "all that is proven gone at once",
    ("reclaim", "--dry-run"): "what it would do",
    ("reclaim", "--json"): "every command of an operator prints JSON",
    **{
        (verb, "--dry-run"): "what it would do"
        for verb in ("init", "create", "link", "claim", "heartbeat", "complete", "block")
    },
    **{(verb, "--json"): "every command prints JSON" for verb in ("link", "heartbeat", "complete", "block")},
    ("unblock", "--dry-run"): "what it would do",
    ("unblock", "--json"): "every command of an operator prints JSON",
    ("edit", "--dry-run"): "what it would do",
    ("edit", "--json"): "every command of an operator prints JSON",
    ("edit", "--clear-claim"): "a repair that the host does not have",
    ("edit", "--clear-skills"): "a repair that the host does not have",
    ("edit", "--reset-failures"): "a repair that the host does not have",
}
# With --stale there is no task to name.
OPTIONAL_HERE = {("reclaim", "task_id")}

ASK_HOST = """
import argparse, json
from hermes_cli import kanban
top = argparse.ArgumentParser()
verbs = top.add_subparsers()
kanban.build_parser(verbs)
(inner,) = [a for a in verbs.choices["kanban"]._actions if isinstance(a, argparse._SubParsersAction)]
told = {}
for name, parser in inner.choices.items():
    told[name] = {
        (action.option_strings or [action.dest])[-1]: [
            action.nargs,
            sorted(action.choices) if action.choices else None,
            action.default,
            bool(action.option_strings),
        ]
        for action in parser._actions if action.dest != "help"
    }
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, list[object]]]:
    environment = {"HERMES_HOME": str(tmp_path_factory.mktemp("host")), "PATH": "/usr/bin:/bin"}
    told = subprocess.run(
        [sys.executable, "-c", ASK_HOST], capture_output=True, text=True, check=True, env=environment
    ).stdout
    return json.loads(told)


def flags_of(verb: str) -> dict[str, argparse.Action]:
    (verbs,) = [action for action in build()._actions if isinstance(action, argparse._SubParsersAction)]
    actions = [action for action in verbs.choices[verb]._actions if action.dest not in ("help", "board")]
    return {(action.option_strings or [action.dest])[-1]: action for action in actions}


def test_every_verb_is_the_hosts_or_takes_no_name_of_the_host(theirs: dict[str, dict[str, list[object]]]) -> None:
    (verbs,) = [action for action in build()._actions if isinstance(action, argparse._SubParsersAction)]
    assert set(verbs.choices) == {*VERBS, *OURS, *SAME_NAME}
    assert not theirs.keys() & set(OURS)
    assert set(SAME_NAME) <= theirs.keys()


@pytest.mark.parametrize("verb", VERBS)
def test_flags_have_the_hosts_names(theirs: dict[str, dict[str, list[object]]], verb: str) -> None:
    missing = theirs[verb].keys() - flags_of(verb).keys()
    added = flags_of(verb).keys() - theirs[verb].keys()
    assert missing == {flag for name, flag in LEFT_OUT if name == verb}
    assert added == {flag for name, flag in ADDED if name == verb}


@pytest.mark.parametrize("verb", VERBS)
def test_flags_mean_the_same(theirs: dict[str, dict[str, list[object]]], verb: str) -> None:
    for flag, action in flags_of(verb).items():
        if flag not in theirs[verb]:
            continue
        nargs, choices, default, optional = theirs[verb][flag]
        assert (action.nargs == 0) == (nargs == 0), f"{verb} {flag}: one takes a value, the other does not"
        assert bool(action.option_strings) == optional, f"{verb} {flag}"
        if not optional and (verb, flag) not in OPTIONAL_HERE:
            assert action.nargs == nargs, f"{verb} {flag}"
        assert (sorted(action.choices) if action.choices else None) == choices, f"{verb} {flag}"
        if isinstance(default, str | int) and flag not in ("--workspace", "--failure-limit"):
            assert action.default == default, f"{verb} {flag}"
    # Parsed into kind and path; the limit comes from the settings unless it is given.
    if verb == "create":
        assert flags_of(verb)["--workspace"].default == ("scratch", None)


def test_every_table_row_is_about_a_verb_we_compare() -> None:
    assert {name for name, _ in (*LEFT_OUT, *ADDED)} <= set(VERBS)
