import re

import numpy as np
import pytest
import torch
from made import make_folder, pixels, write
from PIL import Image
from torch import nn

import equimorph as em
from equimorph import data
from equimorph.data.problems import DataProblemsError
from equimorph.data.readers import ReadOptions
from equimorph.deploy.prediction import predict
from equimorph.deploy.samples import find_images, read_images
from equimorph.errors import ConfigurationError, DataError
from equimorph.layers import transform

LABELS = ("ants", "bees", "cows")


def plain_numbers(channels=1, sides=(8, 8)):
    return {"channels": channels, "sides": list(sides), "mean": [100.0] * channels, "std": [50.0] * channels}


def free(channels=1, sides=(8, 8), outputs=3):
    """A network that tells every move from every other."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * int(np.prod(sides)), outputs))


def invariant(group, channels=1, dim=2):
    return em.models.PaperNetwork(
        group=em.group(group, dim=dim), image_size=8, in_channels=channels, num_classes=3, depth=2, fields=1
    )


def images(folder, count=3, **kind):
    paths = [folder / f"{number}.png" for number in range(count)]
    for number, path in enumerate(paths):
        write(path, pixels(number, **({"sides": (8, 8), "channels": 1} | kind)))
    return paths


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("channels", ["auto", "grey"])
def test_a_training_image_gives_the_tensor_that_it_had_in_training_to_the_bit(tmp_path, fit, channels):
    root = make_folder(tmp_path / "own", sides=(9, 14))
    write(root / "ants" / "00.png", pixels(99, sides=(20, 11)))
    loaded = data.load(root, options=ReadOptions(image_size=8, fit=fit, channels=channels, workers=0))
    for split in (loaded.train, loaded.test):
        x = read_images([root / name for name in split.ids], loaded.preprocessing())
        assert torch.equal(x, loaded.standardize(split.x[:]))


def test_sixteen_bits_palettes_and_exif_are_read_as_in_training(tmp_path):
    root = make_folder(tmp_path / "own", channels=1)
    write(root / "ants" / "00.png", pixels(7, channels=1, dtype=np.uint16))
    Image.fromarray(pixels(8)).quantize(16).save(root / "ants" / "01.png")
    turned = Image.Exif()
    turned[274] = 6
    Image.fromarray(pixels(9)).save(root / "ants" / "02.jpg", exif=turned, quality=95)
    Image.fromarray(pixels(10)).save(root / "bees" / "99.tiff")
    loaded = data.load(root, options=ReadOptions(workers=0))
    x = read_images([root / name for name in loaded.train.ids], loaded.preprocessing())
    assert torch.equal(x, loaded.standardize(loaded.train.x[:]))


@pytest.mark.parametrize(("dim", "shape"), [(1, (2, 30)), (2, (9, 9)), (3, (6, 7, 8))])
def test_arrays_are_read_as_in_training(tmp_path, dim, shape):
    for number in range(30):
        array = np.random.RandomState(number).randn(*shape)
        write(tmp_path / "own" / LABELS[number % 3] / f"{number:02d}.npy", array)
    loaded = data.load(tmp_path / "own", options=ReadOptions(dim=dim, image_size=6, workers=0))
    x = read_images([tmp_path / "own" / name for name in loaded.train.ids], loaded.preprocessing())
    assert torch.equal(x, loaded.standardize(loaded.train.x[:]))


def test_probabilities_are_the_softmax_of_the_network_in_the_order_of_the_files(tmp_path):
    paths = images(tmp_path, 5)
    network = free()
    found = predict(network, paths[::-1], plain_numbers(), labels=LABELS, batch_size=2)
    with torch.no_grad():
        expected = network(read_images(paths[::-1], plain_numbers())).softmax(1)
    assert [prediction.file for prediction in found] == [str(path) for path in paths[::-1]]
    assert torch.tensor([list(p.values.values()) for p in found]) == pytest.approx(expected, abs=1e-6)
    assert [p.predicted for p in found] == [LABELS[place] for place in expected.argmax(1).tolist()]
    assert all(p.agreement is None and p.moved == () and p.largest_difference == 0 for p in found)


def test_the_network_is_left_as_it_was(tmp_path):
    network = invariant("D4").train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    predict(network, images(tmp_path), plain_numbers(), labels=LABELS)
    assert network.training and all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_workers_change_nothing(tmp_path):
    paths = images(tmp_path, 7)
    alone, together = (predict(free(), paths, plain_numbers(), batch_size=2, workers=number) for number in (0, 2))
    assert alone == together


@pytest.mark.parametrize(("group", "dim"), [("D4", 2), ("Z2", 1), ("C4v@z", 3)])
def test_an_invariant_network_agrees_with_itself_on_every_element(tmp_path, group, dim):
    sides = (8,) * dim
    write(tmp_path / "a.npy", np.random.RandomState(0).rand(*sides))
    network = invariant(group, dim=dim)
    [found] = predict(network, [tmp_path / "a.npy"], plain_numbers(sides=sides), labels=LABELS, orbit=True)
    order = em.group(group, dim=dim).order
    assert [moved.element for moved in found.moved] == list(range(1, order))
    assert found.agreement == 1 and found.largest_difference < 1e-5


def test_every_element_is_compared_with_the_image_moved_by_hand(tmp_path):
    paths, D4, network = images(tmp_path, 4), em.group("D4"), free()
    found = predict(network, paths, plain_numbers(), labels=LABELS, orbit=True, group=D4)
    x = read_images(paths, plain_numbers())
    with torch.no_grad():
        still = network(x).softmax(1)
        for element in range(1, 8):
            moved = network(transform(x, element, D4, "trivial")).softmax(1)
            told = [prediction.moved[element - 1] for prediction in found]
            assert [t.predicted for t in told] == [LABELS[place] for place in moved.argmax(1).tolist()]
            assert [t.probability for t in told] == pytest.approx(moved.amax(1).tolist(), abs=1e-6)
            assert [t.difference for t in told] == pytest.approx((moved - still).abs().amax(1).tolist(), abs=1e-6)
    for prediction in found:
        same = sum(moved.predicted == prediction.predicted for moved in prediction.moved)
        assert prediction.agreement == same / 7
        assert prediction.largest_difference == max(moved.difference for moved in prediction.moved) > 0.01
    assert any(prediction.agreement < 1 for prediction in found)


def test_elements_that_exchange_unequal_sides_are_left_out(tmp_path):
    path, D4 = tmp_path / "a.npy", em.group("D4")
    write(path, np.random.RandomState(0).rand(6, 8))
    [found] = predict(free(sides=(6, 8)), [path], plain_numbers(sides=(6, 8)), orbit=True, group=D4)
    kept = {element for element in range(1, 8) if element in D4.subgroup("D2")}
    assert {moved.element for moved in found.moved} == kept


@pytest.mark.parametrize("labels", [(), ("one", "two")])
def test_outputs_that_are_no_class_scores_stay_as_they_are(tmp_path, labels):
    paths, network = images(tmp_path), free()
    found = predict(network, paths, plain_numbers(), labels=labels, orbit=True, group=em.group("C2"))
    with torch.no_grad():
        expected = network(read_images(paths, plain_numbers()))
    assert [list(p.values) for p in found] == [["output_0", "output_1", "output_2"]] * 3
    assert torch.tensor([list(p.values.values()) for p in found]) == pytest.approx(expected, abs=1e-6)
    assert all(p.predicted is None and p.agreement is None and p.moved[0].predicted is None for p in found)
    assert all(p.largest_difference > 0 for p in found)


def test_numbers_that_have_names_are_no_classes(tmp_path):
    [found] = predict(free(), images(tmp_path, 1), plain_numbers(), labels=LABELS, is_classifier=False)
    assert found.predicted is None and tuple(found.values) == LABELS and sum(found.values.values()) != 1


def bad_files(folder):
    good = images(folder, 2)
    (folder / "text.png").write_text("no image")
    whole = (folder / "0.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    write(folder / "wide.npy", np.zeros((5, 8, 8)))
    write(folder / "deep.npy", np.zeros((2, 3, 8, 8)))
    write(folder / "nan.npy", np.full((8, 8), np.nan))
    bad = [folder / name for name in ("text.png", "cut.png", "wide.npy", "deep.npy", "nan.npy", "missing.png")]
    return good, bad


def test_all_that_is_wrong_with_files_is_told_together(tmp_path):
    good, bad = bad_files(tmp_path)
    with pytest.raises(DataProblemsError) as caught:
        predict(free(), [*bad[:3], *good, *bad[3:]], plain_numbers(), batch_size=2)
    told = str(caught.value)
    assert "6 problems" in told and "--skip-bad" in told
    assert all(path.name in told for path in bad) and not any(path.name in told for path in good)
    assert "it has 5 channels, and the network takes 1" in told


def test_no_time_is_spent_on_predictions_that_will_not_be_told(tmp_path):
    good, bad = bad_files(tmp_path)
    network, calls = free(), []
    network.register_forward_hook(lambda *_: calls.append(1))
    with pytest.raises(DataProblemsError):
        predict(network, [good[0], bad[0], *good], plain_numbers(), batch_size=1)
    assert len(calls) == 1


def test_bad_files_are_skipped_with_a_warning_where_that_is_asked_for(tmp_path):
    good, bad = bad_files(tmp_path)
    with pytest.warns(UserWarning, match="left out 6 of 8 files") as caught:
        found = predict(free(), [*bad, *good], plain_numbers(), skip_bad=True, batch_size=3)
    assert [prediction.file for prediction in found] == [str(path) for path in good]
    assert "missing.png" in str(caught[0].message)
    with pytest.raises(DataProblemsError, match="none of these files can be used"):
        predict(free(), bad, plain_numbers(), skip_bad=True)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"sides": [8]}, "it is an image, and samples of dimension 1 are needed"),
        ({"channels": 4, "mean": [0.0] * 4, "std": [1.0] * 4}, "it is an image, and the network takes 4 channels"),
    ],
)
def test_images_for_a_network_of_other_samples_are_refused(tmp_path, changes, told):
    with pytest.raises(DataProblemsError, match=told):
        predict(free(), images(tmp_path, 1), plain_numbers() | changes)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"labels": ["a"], "is_classifier": True}, "1 class labels, and the network has 3 outputs"),
        ({"labels": ["a", "a", "b"]}, "not all different"),
        ({"device": "tpu"}, 'device is "tpu"'),
        ({"orbit": True}, "no group of its own"),
        ({"orbit": True, "group": em.group("Z2")}, "Z2 acts in dimension 1"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, options, told):
    with pytest.raises(ConfigurationError, match=re.escape(told)):
        predict(free(), images(tmp_path, 1), plain_numbers(), **options)


@pytest.mark.parametrize("missing", ["channels", "sides", "mean", "std"])
def test_preprocessing_that_lacks_something_is_refused(tmp_path, missing):
    known = {key: value for key, value in plain_numbers().items() if key != missing}
    with pytest.raises(ConfigurationError, match=f"no {missing}"):
        read_images(images(tmp_path, 1), known)


def test_maps_are_refused_with_a_way_out(tmp_path):
    with pytest.raises(ConfigurationError, match="read_images"):
        predict(nn.Conv2d(1, 2, 3), images(tmp_path, 1), plain_numbers())


def test_progress_is_told_up_to_the_last_file(tmp_path):
    told = []
    predict(free(), images(tmp_path, 5), plain_numbers(), batch_size=2, progress=lambda *step: told.append(step))
    assert told == [("predicting", done, 5) for done in (2, 4, 5)]


def test_files_folders_and_patterns_are_found_once_and_in_order(tmp_path):
    for name in ("b/2.png", "b/deep/1.npy", "b/note.txt", "b/.hidden.png", "b/.cache/x.png", "a.png", "c[1].png"):
        write(tmp_path / name, pixels(0)) if name[-3:] in ("png", "npy") else (tmp_path / name).write_text("")
    names = [tmp_path / "b", tmp_path / "b" / "*.png", tmp_path / "a.png", tmp_path / "c[1].png", tmp_path / "gone.png"]
    found = [path.relative_to(tmp_path).as_posix() for path in find_images(names)]
    assert found == ["b/2.png", "b/deep/1.npy", "a.png", "c[1].png", "gone.png"]


def test_a_relative_pattern_is_one_of_the_folder_that_one_is_in(tmp_path, monkeypatch):
    images(tmp_path / "in", 2)
    monkeypatch.chdir(tmp_path)
    assert [path.as_posix() for path in find_images(["*/0.png"])] == ["in/0.png"]


@pytest.mark.parametrize("given", [[], ["empty"], ["empty/*.png"]])
def test_where_there_are_no_images_that_is_told(tmp_path, monkeypatch, given):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="no images"):
        find_images(given)
