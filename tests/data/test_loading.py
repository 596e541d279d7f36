"""From a folder or a file to a data set: the same however it is read, and all that is wrong told together."""

import csv
import math

import numpy as np
import pytest
import torch
from made import COUNTS, make_folder, pixels, write

import equimorph as em
from equimorph.data import Augmentation, ReadOptions, Shares
from equimorph.data.problems import DataProblemsError
from equimorph.data.stream import Stream
from equimorph.errors import ConfigurationError, DataError

KINDS = {
    "bytes": {},
    "grey": {"channels": 1},
    "16 bits": {"channels": 1, "dtype": np.uint16},
}


def load(path, **options):
    return em.data.load(path, options=ReadOptions(**{"workers": 0} | options))


def splits_of(data):
    return {"train": data.train, "validation": data.validation, "test": data.test}


def problems(path, **options):
    with pytest.raises(DataProblemsError) as caught:
        load(path, **options)
    return caught.value


@pytest.fixture(scope="module", params=KINDS.values(), ids=KINDS)
def folder(request, tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("own") / "beasts", **request.param)


@pytest.fixture(scope="module")
def beasts(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("own") / "beasts")


def assert_same(one, two, *, to_the_bit=True):
    assert one.classes == two.classes and one.description() == two.description()
    if to_the_bit:
        assert (one.mean, one.std) == (two.mean, two.std)
    else:
        assert one.mean == pytest.approx(two.mean, rel=1e-12) and one.std == pytest.approx(two.std, rel=1e-12)
    for a, b in zip(splits_of(one).values(), splits_of(two).values(), strict=True):
        assert a.ids == b.ids and torch.equal(a.y, b.y)
        assert a.x.shape == b.x.shape and torch.equal(a.x[:], b.x[:])


def test_samples_are_the_same_kept_in_memory_and_streamed(folder):
    kept, streamed = load(folder), load(folder, memory_gib=0)
    assert not isinstance(kept.train.x, Stream) and isinstance(streamed.train.x, Stream)
    assert_same(kept, streamed)
    is_bytes = kept.train.x.dtype == torch.uint8
    assert_same(kept.resplit(5), streamed.resplit(5), to_the_bit=is_bytes)
    assert_same(kept.subset(10), streamed.subset(10), to_the_bit=is_bytes)
    chosen = torch.tensor([5, 0, 3])
    one, two = kept.train.part(chosen), streamed.train.part(chosen)
    assert one.ids == two.ids == tuple(kept.train.ids[i] for i in (5, 0, 3)) and torch.equal(one.x[:], two.x[:])
    for size in (1, 4, 100):
        for (x, y), (other_x, other_y) in zip(kept.test.in_order(size), streamed.test.in_order(size), strict=True):
            assert torch.equal(x, other_x) and torch.equal(y, other_y)


def test_mean_and_deviation_are_those_of_the_training_pixels(folder):
    for data in (load(folder), load(folder, memory_gib=0), load(folder).resplit(3)):
        x = data.train.x[:].double()
        assert data.mean == pytest.approx(x.mean((0, 2, 3)).tolist(), rel=1e-12)
        assert data.std == pytest.approx(x.std((0, 2, 3), correction=0).tolist(), rel=1e-9)


@pytest.mark.parametrize("memory", [4, 0], ids=["kept", "streamed"])
def test_the_number_of_workers_changes_nothing(tmp_path, memory, monkeypatch):
    monkeypatch.setattr("equimorph.data.scan._CHUNK", 7)  # chunks for more than one worker
    monkeypatch.setattr("equimorph.data.stream.cores", lambda: 2)
    folder = make_folder(tmp_path / "own")
    (folder / "bees" / "03.png").write_bytes(b"")
    data = [load(folder, workers=workers, memory_gib=memory, bad_samples="leave-out") for workers in (0, 1, 2, None)]
    for other in data[1:]:
        assert_same(data[0], other)


def test_samples_are_kept_up_to_the_memory_that_is_given_and_streamed_beyond(beasts):
    needed = sum(COUNTS.values()) * 3 * 6 * 6 / 2**30
    assert isinstance(load(beasts, memory_gib=needed).train.x, torch.Tensor)
    assert isinstance(load(beasts, memory_gib=needed * 0.999).train.x, Stream)


def test_the_samples_of_a_folder_are_divided_the_same_way_on_every_machine(beasts):
    data = load(beasts)
    assert data.name == "beasts" and data.classes == tuple(COUNTS)
    assert [len(split) for split in splits_of(data).values()] == [21, 3, 6]
    assert data.validation.ids == PINNED["validation"]
    assert data.test.ids == PINNED["test"]
    assert data.train.ids[:4] == PINNED["train begins"]
    assert load(beasts, split=3).test.ids == PINNED["test of split 3"]
    assert data.resplit(1).test.ids == PINNED["test resplit 1"]
    assert data.notes.split == "10% validation and 20% test drawn by class, seed 0"


PINNED = {
    "validation": ("cows/04.png", "bees/05.png", "ants/03.png"),
    "test": ("bees/08.png", "bees/04.png", "ants/05.png", "cows/01.png", "cows/08.png", "ants/00.png"),
    "train begins": ("cows/00.png", "bees/00.png", "ants/01.png", "ants/04.png"),
    "test of split 3": ("bees/05.png", "bees/07.png", "ants/10.png", "cows/02.png", "ants/08.png", "cows/08.png"),
    "test resplit 1": ("bees/06.png", "cows/05.png", "bees/05.png", "ants/02.png", "ants/08.png", "cows/06.png"),
}


def test_every_sample_has_its_own_id_label_and_pixels(beasts):
    data = load(beasts)
    number_of = {
        f"{label}/{place:02d}.png": sum(list(COUNTS.values())[:index]) + place
        for index, (label, count) in enumerate(COUNTS.items())
        for place in range(count)
    }
    seen = [name for split in splits_of(data).values() for name in split.ids]
    assert sorted(seen) == sorted(number_of)
    for split in splits_of(data).values():
        for x, y, name in zip(split.x, split.y.tolist(), split.ids, strict=True):
            assert name.startswith(data.classes[y] + "/")
            assert np.array_equal(x.permute(1, 2, 0), pixels(number_of[name]))


def test_shares_are_those_that_were_asked_for(beasts):
    data = load(beasts, shares=Shares(validation=0.3, test=0.4))
    assert [len(split) for split in splits_of(data).values()] == [9, 9, 12]
    assert data.test.y.bincount().tolist() == [5, 4, 3] or data.test.y.bincount().tolist() == [5, 3, 4]


@pytest.fixture
def mixed(tmp_path):
    """Eight images of 6 x 6, four of 4 x 8, two of 12 x 12."""
    number = 0
    for sides, count in (((6, 6), 8), ((4, 8), 4), ((12, 12), 2)):
        for _ in range(count):
            write(tmp_path / "mixed" / "ab"[number % 2] / f"{number:02d}.png", pixels(number, sides))
            number += 1
    return tmp_path / "mixed"


SHARES = Shares(validation=0.2, test=0.2)


@pytest.mark.parametrize("bad", ["stop", "leave-out"])
def test_sides_that_differ_are_told_with_the_option_that_names_one_size(mixed, bad):
    said = str(problems(mixed, bad_samples=bad))
    assert "sides differ, so name one size with --image-size: 4 x 8 to 12 x 12, most often 6 x 6" in said
    assert said.startswith("data: mixed: 1 problem; ") and ("leave-out" in said) == (bad == "stop")


@pytest.mark.parametrize("memory", [4, 0], ids=["kept", "streamed"])
@pytest.mark.parametrize(
    ("fit", "handled"),
    [
        ("crop", {"made smaller, to 6 x 6": 2, "made larger, to 6 x 6": 4, "cut to proportion": 4}),
        ("pad", {"made smaller, to 6 x 6": 2, "made larger, to 6 x 6": 4, "padded to proportion": 4}),
        ("stretch", {"made smaller, to 6 x 6": 2, "made larger, to 6 x 6": 4}),
    ],
)
def test_samples_of_other_sides_are_brought_to_the_size_and_counted(mixed, fit, handled, memory):
    data = load(mixed, image_size=6, fit=fit, shares=SHARES, memory_gib=memory)
    assert data.train.x.shape[1:] == (3, 6, 6) and data.notes.handled == handled
    assert data.description()["handled"] == handled
    as_it_is = next(split for split in splits_of(data).values() if "a/00.png" in split.ids)
    sample = as_it_is.x[torch.tensor([as_it_is.ids.index("a/00.png")])][0]
    assert np.array_equal(sample.permute(1, 2, 0), pixels(0))


@pytest.mark.parametrize("size", [0, -3])
def test_a_size_below_one_is_refused(beasts, size):
    with pytest.raises(ConfigurationError, match=f"--image-size is {size}; it must be at least one"):
        load(beasts, image_size=size)


def test_a_negative_number_of_workers_is_refused(beasts):
    with pytest.raises(ConfigurationError, match="--workers is -1; it must not be negative"):
        load(beasts, workers=-1)


@pytest.fixture
def grey_and_rgb(tmp_path):
    for number in range(16):
        write(
            tmp_path / "own" / "ab"[number % 2] / f"{number:02d}.png", pixels(number, channels=3 if number < 5 else 1)
        )
    return tmp_path / "own"


@pytest.mark.parametrize(
    ("channels", "num_channels", "handled"),
    [("auto", 3, {"grey made RGB": 11}), ("rgb", 3, {"grey made RGB": 11}), ("grey", 1, {"colour made grey": 5})],
)
def test_grey_and_colour_are_brought_to_one_and_counted(grey_and_rgb, channels, num_channels, handled):
    data = load(grey_and_rgb, channels=channels, shares=SHARES)
    assert data.in_channels == num_channels and data.notes.handled == handled


def test_channels_of_arrays_are_not_chosen(tmp_path):
    np.savez(tmp_path / "own.npz", x=np.zeros((30, 6, 6, 3), np.uint8), y=np.arange(30) % 2)
    with pytest.raises(ConfigurationError, match="--channels grey is for image files; own holds arrays, of 3 channels"):
        load(tmp_path / "own.npz", channels="grey")


def test_sixteen_bits_become_floating_point_numbers_and_are_counted(tmp_path):
    data = load(make_folder(tmp_path / "own", channels=1, dtype=np.uint16))
    assert data.train.x.dtype == torch.float32 and data.train.x.max() <= 255
    assert data.notes.handled == {"16 bits scaled to 0 to 255": 30}
    first = next(split for split in splits_of(data).values() if "ants/00.png" in split.ids)
    found = first.x[first.ids.index("ants/00.png"), 0]
    assert np.array_equal(found, pixels(0, channels=1, dtype=np.uint16).astype(np.float32) / 257)


def test_one_image_with_more_levels_makes_all_floating_point(tmp_path):
    folder = make_folder(tmp_path / "own", channels=1)
    write(folder / "bees" / "deep.png", pixels(99, channels=1, dtype=np.uint16))
    data = load(folder)
    assert data.train.x.dtype == torch.float32 and data.notes.handled == {"16 bits scaled to 0 to 255": 1}


@pytest.fixture
def damaged(tmp_path):
    """A cut file, one that is no image, a class without images, one with a single image, and one of text."""
    folder = make_folder(tmp_path / "own", sides=(40, 40))
    whole = (folder / "ants" / "00.png").read_bytes()
    (folder / "ants" / "00.png").write_bytes(whole[: len(whole) // 2])
    (folder / "bees" / "01.png").write_bytes(whole[: len(whole) // 2])
    (folder / "bees" / "00.png").write_text("<html>")
    (folder / "dogs").mkdir()
    write(folder / "emus" / "only.png", pixels(7, (40, 40)))
    (folder / "ants" / "notes.txt").write_text("blurred")
    return folder


@pytest.mark.parametrize("memory", [4, 0], ids=["kept", "streamed"])
def test_all_that_is_wrong_is_told_together_one_line_a_reason(damaged, memory):
    error = problems(damaged, memory_gib=memory)
    lines = str(error).splitlines()
    assert lines[0].startswith("data: own: 5 problems; ") and "--bad-samples leave-out" in lines[0]
    assert {line.strip() for line in lines[1:]} == {
        "a class folder without images: dogs",
        "the file is no image, or damaged at its beginning: bees/00.png",
        "the file is cut short or damaged: ants/00.png, bees/01.png",
        'a class with a single sample for training, and at least 3 must be there: "emus" (emus/only.png)',
    }


def test_what_is_wrong_is_left_out_and_counted_when_told_to(damaged):
    data = load(damaged, bad_samples="leave-out")
    assert data.classes == tuple(COUNTS)
    assert sum(len(split) for split in splits_of(data).values()) == 27
    ids = {name for split in splits_of(data).values() for name in split.ids}
    assert not ids & {"ants/00.png", "bees/00.png", "bees/01.png", "emus/only.png"}
    assert data.notes.left_out == {
        "a class folder without images": 1,
        "the file is no image, or damaged at its beginning": 1,
        "the file is cut short or damaged": 2,
        "a class with a single sample for training, and at least 3 must be there": 1,
        "files that are no samples (.txt)": 1,
    }


def test_a_class_becomes_too_small_by_what_is_left_out(tmp_path):
    folder = make_folder(tmp_path / "own", {"ants": 9, "bees": 3})
    assert load(folder, shares=Shares(0.25, 0.25)).train.y.bincount().tolist() == [5, 1]
    (folder / "bees" / "00.png").write_bytes(b"")
    said = str(problems(folder))
    assert '"bees" (bees/01.png)' in said and "two samples" in said and "bees/00.png" in said


def test_nothing_but_bad_samples_is_told(tmp_path):
    folder = make_folder(tmp_path / "own", {"ants": 3, "bees": 3})
    for path in folder.rglob("*.png"):
        path.write_bytes(b"")
    assert "6 times" in str(problems(folder))
    with pytest.raises(DataError, match="own"):
        load(folder, bad_samples="leave-out")


def test_a_class_that_is_missing_in_training_is_told(tmp_path):
    folder = tmp_path / "own"
    make_folder(folder / "train", {"ants": 6, "bees": 6})
    make_folder(folder / "val", {"ants": 3, "bees": 3})
    make_folder(folder / "test", {"ants": 3, "cows": 3})
    said = str(problems(folder))
    assert '"cows" (test/cows/00.png)' in said and "no sample for training" in said
    data = load(folder, bad_samples="leave-out")
    assert data.classes == ("ants", "bees") and [len(split) for split in splits_of(data).values()] == [12, 6, 3]


def of_part(ids):
    return {name.split("/")[0] for name in ids}


def test_parts_that_are_given_stay_as_they_are(tmp_path):
    folder = tmp_path / "own"
    for part, count in (("train", 6), ("val", 1), ("test", 2)):
        make_folder(folder / part, {"ants": count, "bees": count})
    data = load(folder)
    assert [of_part(split.ids) for split in splits_of(data).values()] == [{"train"}, {"val"}, {"test"}]
    assert [len(split) for split in splits_of(data).values()] == [12, 2, 4]
    assert data.notes.split == "as the data are divided"


@pytest.mark.parametrize(
    ("given", "missing", "share"), [("test", "validation", Shares(0.25, 0.5)), ("val", "test", Shares(0.5, 0.25))]
)
def test_a_part_that_is_missing_is_drawn_from_the_training_samples_alone(tmp_path, given, missing, share):
    folder = tmp_path / "own"
    make_folder(folder / "train", {"ants": 12, "bees": 8})
    make_folder(folder / given, {"ants": 3, "bees": 2})
    splits = splits_of(load(folder, shares=share))
    other = ({"validation", "test"} - {missing}).pop()
    assert splits[missing].y.bincount().tolist() == [3, 2] and of_part(splits[missing].ids) == {"train"}
    assert len(splits["train"]) == 15 and of_part(splits["train"].ids) == {"train"}
    assert of_part(splits[other].ids) == {given} and len(splits[other]) == 5
    assert not set(splits["train"].ids) & set(splits[missing].ids)
    notes = load(folder, shares=share).notes.split
    assert notes == f"as the data are divided; {missing} drawn by class, seed 0"
    assert load(folder, shares=share, split=1).train.ids != load(folder, shares=share).train.ids


def test_two_samples_of_a_class_are_enough_where_one_part_is_drawn(tmp_path):
    folder = tmp_path / "own"
    make_folder(folder / "train", {"ants": 4, "bees": 2})
    make_folder(folder / "test", {"ants": 3, "bees": 2})
    for seed in range(5):
        data = load(folder, shares=Shares(0.4, 0.2), split=seed)
        assert data.train.y.bincount().tolist() == [3, 1] and data.validation.y.bincount().tolist() == [1, 1]


def test_both_parts_that_are_missing_are_drawn(tmp_path):
    make_folder(tmp_path / "own" / "train", {"ants": 12, "bees": 8})
    data = load(tmp_path / "own")
    assert [len(split) for split in splits_of(data).values()] == [14, 2, 4]
    assert data.notes.split == "as the data are divided; validation and test drawn by class, seed 0"


def test_shares_too_small_for_every_class_are_told_with_the_options(tmp_path):
    folder = make_folder(tmp_path / "own", dict.fromkeys("abcdef", 3))
    with pytest.raises(DataError, match=r"own cannot be divided .*--validation-share, --test-share"):
        load(folder)


def table_of(folder, num_groups=10):
    """A table of the made folder in which every sample has a patient."""
    with (folder.parent / "table.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "patient"])
        for number, path in enumerate(sorted(folder.rglob("*.png"))):
            rows.writerow([path.relative_to(folder.parent), path.parent.name, f"p{number * 7 % num_groups}"])
    return folder.parent / "table.csv"


@pytest.mark.parametrize("memory", [4, 0], ids=["kept", "streamed"])
def test_groups_are_never_divided_also_when_drawn_anew(tmp_path, memory):
    table = table_of(make_folder(tmp_path / "beasts"))
    with table.open(newline="") as file:
        patient = {row["path"]: row["patient"] for row in csv.DictReader(file)}
    data = load(table, memory_gib=memory)
    assert data.notes.split == "10% validation and 20% test drawn by class and group, seed 0"
    divisions = [
        data,
        *(data.resplit(seed) for seed in range(1, 6)),
        *(load(table, split=seed) for seed in range(1, 4)),
    ]
    for divided in divisions:
        patients = [{patient[name] for name in split.ids} for split in splits_of(divided).values()]
        assert all(patients) and sum(map(len, patients)) == len(set.union(*patients)) == 10
        for split in splits_of(divided).values():
            numbers = dict(zip((patient[name] for name in split.ids), split.groups.tolist(), strict=True))
            assert len(set(numbers.values())) == len(numbers)
    assert len({divided.test.ids for divided in divisions[:6]}) > 1


def test_a_validation_set_drawn_from_the_training_set_divides_no_group(tmp_path):
    x = np.arange(40 * 36, dtype=np.float32).reshape(40, 6, 6)
    y, groups = np.arange(40) % 2, np.arange(40) // 5
    np.savez(
        tmp_path / "own.npz",
        **{f"{name}_train": array[:30] for name, array in (("x", x), ("y", y), ("groups", groups))},
        **{f"{name}_test": array[30:] for name, array in (("x", x), ("y", y), ("groups", groups))},
    )
    data = load(tmp_path / "own.npz", shares=Shares(0.3, 0.2))
    train, validation, test = (set((split.x[:, 0, 0, 0] // 180).tolist()) for split in splits_of(data).values())
    assert not train & validation and len(validation) == 2 and test == {6, 7}


def test_arrays_of_another_number_of_channels_are_named(tmp_path):
    for number in range(12):
        write(tmp_path / "own" / "ab"[number % 2] / f"{number:02d}.npy", pixels(number, channels=5))
    write(tmp_path / "own" / "a" / "odd.npy", pixels(1, channels=4))
    said = str(problems(tmp_path / "own", channel_axis="last"))
    assert "4 channels, and most others have 5: a/odd.npy" in said
    data = load(tmp_path / "own", channel_axis="last", bad_samples="leave-out", shares=SHARES)
    assert data.in_channels == 5 and data.notes.left_out == {"4 channels, and most others have 5": 1}


def test_numbers_that_are_not_finite_are_told(tmp_path):
    x = np.random.RandomState(0).randn(30, 20).astype(np.float32)
    x[4, 3], x[7, 0] = math.nan, math.inf
    np.savez(tmp_path / "own.npz", x=x, y=np.arange(30) % 2)
    assert "not finite: x[4], x[7]" in str(problems(tmp_path / "own.npz", dim=1))


def test_progress_goes_to_the_end_of_each_look(beasts):
    told = {}
    em.data.load(
        beasts,
        options=ReadOptions(workers=0),
        progress=lambda what, done, total: told.setdefault(what, []).append((done, total)),
    )
    assert list(told) == ["looking at samples", "decoding samples"]
    for steps in told.values():
        assert steps[-1] == (30, 30) and steps == sorted(steps)


def test_an_empty_path_is_no_data_set(beasts, monkeypatch):
    monkeypatch.chdir(beasts)
    with pytest.raises(ConfigurationError, match='no data set ""; there are digits'):
        em.data.load("")


def test_own_samples_are_augmented_like_others(beasts):
    data = load(beasts)
    x = data.standardize(data.train.x[:])
    changed = Augmentation.parse("turn, shift=0.1", dim=2).changed(x, torch.Generator().manual_seed(0))
    assert changed.shape == x.shape and changed.isfinite().all()
