import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from equimorph.errors import ShapeError
from equimorph.reports.dataset.pictures import picture


def pixels_of(html):
    data = re.search(r'src="data:image/png;base64,([^"]+)"', html).group(1)
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        return np.asarray(image)


def test_pixels_are_enlarged_and_stay_sharp():
    sample = torch.tensor([[[0, 50], [100, 255]]], dtype=torch.uint8)
    shown = pixels_of(picture(sample, alt="a", size=4))
    assert shown.shape == (8, 8)
    assert (shown == sample[0].numpy().repeat(4, 0).repeat(4, 1)).all()


def test_three_channels_are_colours_in_their_order():
    sample = torch.tensor([10, 20, 30], dtype=torch.uint8).view(3, 1, 1)
    assert pixels_of(picture(sample, alt="a"))[0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize("channels", [2, 5])
def test_other_numbers_of_channels_show_their_mean(channels):
    sample = torch.zeros(channels, 1, 1, dtype=torch.uint8)
    sample[0] = 200
    assert pixels_of(picture(sample, alt="a"))[0, 0] == 200 // channels


def test_a_volume_shows_its_greatest_values_along_z():
    sample = torch.zeros(1, 2, 3, 4, dtype=torch.uint8)
    sample[0, 1, 2, 3] = 9
    shown = pixels_of(picture(sample, alt="a", size=3))
    assert shown.shape == (4, 6)
    assert (shown[2:, 4:] == 9).all()
    assert shown.sum() == 9 * 4


def test_floating_samples_run_from_black_to_white_whatever_is_in_them():
    shown = pixels_of(picture(torch.tensor([[[-1.0, 1.0, float("nan")]]]), alt="a", size=3))
    assert shown[0, ::2].tolist() == [0, 255, 0]
    assert pixels_of(picture(torch.full((1, 2, 2), 7.0), alt="a")).min() == 128


def test_a_signal_is_a_line_for_each_channel():
    html = picture(torch.rand(2, 30), alt="beat")
    assert html.startswith("<svg")
    assert html.count("<polyline") == 2
    assert 'aria-label="beat"' in html


@pytest.mark.parametrize("shape", [(1, 4, 4), (1, 9)], ids=str)
def test_what_a_picture_is_called_cannot_break_out_of_it(shape):
    html = picture(torch.zeros(shape), alt='"><script>')
    assert "<script>" not in html
    assert "&quot;&gt;&lt;script&gt;" in html


def test_a_large_sample_is_thinned_out():
    assert max(pixels_of(picture(torch.zeros(1, 2000, 1000, dtype=torch.uint8), alt="a")).shape) <= 512


@pytest.mark.parametrize("shape", [(4,), (1, 0, 4), (1, 2, 2, 2, 2)], ids=str)
def test_what_is_no_sample_is_refused(shape):
    with pytest.raises(ShapeError, match="1 to 3 spatial axes"):
        picture(torch.zeros(shape), alt="a")
