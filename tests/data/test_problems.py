"""What is wrong with data, told together."""

import pytest

from equimorph.data.problems import DataProblemsError, Findings, SampleError
from equimorph.errors import DataError


def found(**places):
    findings = Findings()
    for reason, names in places.items():
        for name in names:
            findings.add(name, reason.replace("_", " "))
    return findings


def message_of(findings, *hint):
    with pytest.raises(DataProblemsError) as raised:
        findings.raise_if_any("data: photos", *hint)
    return str(raised.value)


def test_nothing_is_raised_where_nothing_is_wrong():
    findings = Findings()
    findings.handled["turned as EXIF says"] += 3
    findings.left_out["files that are no samples (.txt)"] += 1
    findings.raise_if_any("data: photos")


def test_all_reasons_are_told_together_with_how_many_there_are():
    lines = message_of(found(cut_short=["a.png"], no_label=["b", "c"], no_file=["d"])).splitlines()
    assert lines[0].startswith("data: photos: 4 problems; ") and "--bad-samples leave-out" in lines[0]
    assert lines[1:] == ["  cut short: a.png", "  no label: b, c", "  no file: d"]


def test_one_problem_is_one():
    assert message_of(found(cut_short=["a.png"]), "mend it:").splitlines()[0] == "data: photos: 1 problem; mend it:"


def test_of_many_places_three_are_named_and_all_counted():
    assert message_of(found(bad=["a", "b", "c"])).splitlines()[1] == "  bad: a, b, c"
    lines = message_of(found(bad=[str(number) for number in range(12_345)])).splitlines()
    assert lines[0].startswith("data: photos: 12,345 problems")
    assert lines[1] == "  bad: 12,345 times, 0, 1, 2, …"


def test_of_very_many_reasons_the_others_are_counted():
    lines = message_of(found(**{f"reason_{number}": ["a"] for number in range(23)})).splitlines()
    assert len(lines) == 22
    assert lines[-1] == "  and 3 other kinds of problems"


def test_places_can_be_read_from_the_error():
    with pytest.raises(DataError) as raised:
        found(bad=["a", "b"]).raise_if_any("data")
    assert raised.value.reasons == {"bad": ["a", "b"]}


def test_problems_that_are_left_out_are_counted_and_no_longer_raised():
    findings = found(bad=["a", "b"], worse=["c"])
    findings.left_out["bad"] += 1
    findings.leave_out()
    findings.raise_if_any("data")
    assert findings.left_out == {"bad": 3, "worse": 1} and not findings.problems


def test_an_error_stays_as_it_was_when_its_problems_are_left_out_later():
    findings = found(bad=["a"])
    with pytest.raises(DataProblemsError) as raised:
        findings.raise_if_any("data")
    findings.leave_out()
    assert raised.value.reasons == {"bad": ["a"]}


def test_findings_of_several_are_merged():
    one, other, third = found(bad=["a"]), found(bad=["b"], worse=["c"]), found()
    one.handled["turned"], other.handled["turned"], third.left_out["texts"] = 1, 2, 3
    one.merge([other, third])
    assert one.problems == {"bad": ["a", "b"], "worse": ["c"]}
    assert one.handled == {"turned": 3} and one.left_out == {"texts": 3}
    assert other.problems == {"bad": ["b"], "worse": ["c"]}


def test_a_sample_error_is_an_error_of_data():
    assert issubclass(SampleError, DataError) and issubclass(DataProblemsError, OSError)
