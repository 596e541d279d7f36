"""The devices on which laws are tried: those in EQUIMORPH_TEST_DEVICE, or the CPU and a GPU where there is one."""

import os

import pytest
import torch

NAMED = os.environ.get("EQUIMORPH_TEST_DEVICE")
DEVICES = NAMED.split(",") if NAMED else ["cpu", "cuda"]


@pytest.fixture(params=DEVICES)
def device(request):
    if request.param.startswith("cuda") and not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    before = torch.backends.cudnn.allow_tf32  # which rounds the factors of float32 products to ten bits
    torch.backends.cudnn.allow_tf32 = False
    yield request.param
    torch.backends.cudnn.allow_tf32 = before
