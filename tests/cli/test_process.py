import resource
import subprocess
import sys

import pytest

from equimorph.cli.process import keep_freed_memory

COUNT = """
import resource, torch
from equimorph.cli.process import keep_freed_memory
if {keep}:
    assert keep_freed_memory()
torch.set_num_threads(1)
def step():
    blocks = [torch.ones(2_000_000) for _ in range(4)]
step(), step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_settings_of_the_users_own_are_left_alone(monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    assert not keep_freed_memory()


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux's C library")
def test_freed_memory_is_used_again():
    pages = 4 * 5 * 2_000_000 * 4 // resource.getpagesize()  # what all blocks of all steps take
    faults = int(
        subprocess.run([sys.executable, "-c", COUNT.format(keep=True)], capture_output=True, check=True).stdout
    )
    assert faults < pages / 20
