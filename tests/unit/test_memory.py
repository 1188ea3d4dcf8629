"""Tiers of memory: samples as machines of several kinds show them (failure mode E11)."""

from __future__ import annotations

import psutil
import pytest

from hermes_kanban_plugin import machine
from hermes_kanban_plugin.memory import MIB, Memory, Sample, judge

GIB = 1024 * MIB
SAMPLES = {
    "much is free": (Sample(16 * GIB, 9 * GIB, 2 * GIB, 2 * GIB, 0.0, 0.0), Memory.AMPLE),
    "a full swap alone is no alarm": (Sample(16 * GIB, 9 * GIB, 2 * GIB, 0, 0.0, 0.0), Memory.AMPLE),
    "no swap at all is none either": (Sample(16 * GIB, 3 * GIB), Memory.AMPLE),
    "little is left": (Sample(16 * GIB, GIB, 2 * GIB, 2 * GIB, 0.0, 0.0), Memory.TIGHT),
    "little is left, and nowhere to put it": (Sample(16 * GIB, GIB, 2 * GIB, 1 * MIB, 0.0, 0.0), Memory.CRITICAL),
    "no worker would fit": (Sample(16 * GIB, 500 * MIB, 2 * GIB, 2 * GIB), Memory.CRITICAL),
    "programs wait for memory": (Sample(16 * GIB, 9 * GIB, 0, 0, 30.0, 5.0), Memory.TIGHT),
    "all programs wait for memory": (Sample(16 * GIB, 9 * GIB, 0, 0, 90.0, 60.0), Memory.CRITICAL),
    "a laptop that shares it with its screen": (Sample(8 * GIB, 2 * GIB, 6 * GIB, 300 * MIB), Memory.AMPLE),
    "a small container": (Sample(512 * MIB, 400 * MIB), Memory.AMPLE),
    "a small container that is full": (Sample(512 * MIB, 60 * MIB), Memory.CRITICAL),
    "nobody knows": (Sample(None, None), Memory.UNKNOWN),
    "half of it is unknown": (Sample(16 * GIB, None), Memory.UNKNOWN),
    "nonsense": (Sample(0, 0), Memory.UNKNOWN),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_has_its_tier(name: str) -> None:
    sample, tier = SAMPLES[name]
    assert judge(sample) is tier


def test_this_machine_can_be_looked_at() -> None:
    sample = machine.sample()
    assert sample.total is not None
    assert sample.available is not None
    assert 0 < sample.available <= sample.total <= psutil.virtual_memory().total


def test_a_machine_that_cannot_be_looked_at(mocker) -> None:
    mocker.patch("psutil.virtual_memory", side_effect=OSError("no /proc"))
    assert machine.memory() is Memory.UNKNOWN


@pytest.mark.parametrize(("used", "tier"), [(100, Memory.AMPLE), (950, Memory.CRITICAL)])
def test_a_container_has_what_its_tightest_group_has(tmp_path, monkeypatch, mocker, used: int, tier: Memory) -> None:
    inner = tmp_path / "machine.slice" / "gateway.service"
    inner.mkdir(parents=True)
    for folder, limit, current in ((inner, "max", 10), (inner.parent, str(1000 * MIB), used * MIB)):
        (folder / "memory.max").write_text(limit)
        (folder / "memory.current").write_text(str(current))
        (folder / "memory.stat").write_text("anon 1\ninactive_file 0\n")
    own = tmp_path / "cgroup"
    own.write_text("4:memory:/old\n0::/machine.slice/gateway.service\n")
    monkeypatch.setattr(machine, "_GROUPS", tmp_path)
    monkeypatch.setattr(machine, "_OWN_GROUP", own)
    monkeypatch.setattr(machine, "_PRESSURE", tmp_path / "none")
    roomy = mocker.Mock(total=64 * GIB, available=60 * GIB)
    mocker.patch("psutil.virtual_memory", return_value=roomy)
    assert machine.memory() is tier
