"""Fixtures that every room's tests share."""

import pytest
import torch


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    monkeypatch.setenv("EQUIMORPH_OFFLINE", "1")  # no test waits for the network


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    # The tensors are small: a second thread gains nothing, and waits long where the machine has other work.
    torch.set_num_threads(1)
