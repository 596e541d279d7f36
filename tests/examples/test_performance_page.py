"""The page on performance has the figures that the benchmarks wrote, and its lines run."""

import doctest
import json
import re
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "performance.md"
sys.path.insert(0, str(ROOT / "benchmarks"))  # where the script finds the campaign's ledger and parts
_SCRIPT = runpy.run_path(str(ROOT / "benchmarks" / "performance_page.py"))
sys.path.remove(str(ROOT / "benchmarks"))
filled, short_name, reason_in, Part = (_SCRIPT[name] for name in ("filled", "short_name", "reason_in", "Part"))


def test_the_page_has_the_tables_of_the_results():
    assert filled(PAGE.read_text()) == PAGE.read_text(), "run: python benchmarks/performance_page.py"


def test_tables_are_put_after_the_marker_that_names_their_file(tmp_path):
    content = {"command": "python one.py", "machine": "two threads", "torch": "2", "date": "today"}
    content["tables"] = {"A": "| x |"}
    (tmp_path / "one.json").write_text(json.dumps(content))
    page = filled("before\n<!-- one.json -->\nold\n<!-- end -->\nafter", tmp_path)
    assert page.startswith("before\n<!-- one.json -->\n`python one.py`, two threads, PyTorch 2, today.")
    assert page.endswith("| x |\n<!-- end -->\nafter") and "old" not in page


def test_every_result_that_the_page_names_is_there():
    names = re.findall(r"<!-- ([\w-]+\.json) -->", PAGE.read_text())
    assert len(names) > 8 and all((ROOT / "benchmarks" / "results" / name).exists() for name in names)


def test_the_lines_of_the_page_give_the_output_that_stands_there():
    failures, tried = doctest.testfile(str(PAGE), module_relative=False)
    assert failures == 0 and tried > 7


# The campaign on a GPU

PARTS = (
    Part("tests on the device", "cuda_tests.py", (), 1),
    Part("layers: plain", "layers.py", (), 1),
    Part("layers: compiled", "layers.py", ("--compile",), 1),
    Part("where the time goes: plain", "kernel_times.py", (), 1),
    *(Part(f"training: {one}, seed {seed}", "training_run.py", (), 1) for seed in (0, 1) for one in ("C1", "D4")),
)
BEGINNING = "<!-- gpu campaign -->\n"
MISSING = "### Not run yet, failed or stopped"


def entry(name, status="done", **more):
    """A line of a ledger."""
    line = {"part": name, "status": status, "seconds": 9.6, "device": "Abacus 80GB", "torch": "2.11", "tables": {}}
    return line | {"date": "2026-11-27", "commit": "aaaaaaa", "command": "python benchmarks/x.py"} | more


def training(strategy, seed, error, ends="D4"):
    figures = {"strategy": strategy, "seed": seed, "epochs": 20.0, "test_error": error, "constraints": [ends, ends]}
    figures |= {"wall_seconds": 10.0 + seed, "cost": 1.0 + seed, "fields": "16,32", "precision": "bf16-mixed"}
    return entry(f"training: {strategy}, seed {seed}", figures=figures)


@pytest.fixture
def page_of(monkeypatch, tmp_path):
    """The part of the page that a ledger with these lines fills."""
    monkeypatch.setitem(filled.__globals__, "PARTS", PARTS)

    def fill(*lines):
        ledger = tmp_path / "gpu" / "ledger.jsonl"
        ledger.parent.mkdir(exist_ok=True)
        ledger.write_text("".join(json.dumps(line) + "\n" for line in lines))
        page = filled(f"before\n{BEGINNING}old\n<!-- end -->\nafter", tmp_path)
        assert page.startswith(f"before\n{BEGINNING}") and page.endswith("\n<!-- end -->\nafter") and "old" not in page
        return page.removeprefix(f"before\n{BEGINNING}").removesuffix("\n<!-- end -->\nafter")

    return fill


def test_the_page_has_a_place_for_the_campaign():
    assert PAGE.read_text().count(BEGINNING) == 1


def test_a_campaign_that_has_not_begun_is_told_by_kinds(page_of):
    assert page_of() == "\n".join(
        [
            MISSING,
            "",
            "- tests on the device: has never run.",
            "- layers (all 2): has never run.",
            "- where the time goes (plain): has never run.",
            "- training (all 4): has never run.",
        ]
    )


def test_parts_with_figures_stand_under_their_kind_in_the_order_of_the_parts(page_of):
    compiled, plain = (entry(f"layers: {name}", tables={"A": f"| {name} |"}) for name in ("compiled", "plain"))
    about = "`python benchmarks/x.py`, Abacus 80GB, PyTorch 2.11, 2026-11-27, commit aaaaaaa."
    assert page_of(compiled, plain).startswith(
        f"### Layers\n\n**plain**: {about}\n\n| plain |\n\n**compiled**: {about}\n\n| compiled |\n\n{MISSING}"
    )


def test_the_newest_figures_are_shown_and_no_dry_run(page_of):
    runs = [entry("layers: plain", tables={"A": f"| {n} |"}, commit=f"{n}" * 7) for n in (1, 2)]
    page = page_of(*runs, entry("layers: plain", tables={"A": "| 3 |"}, tiny=True))
    assert "| 2 |" in page and "commit 2222222" in page and "| 1 |" not in page and "| 3 |" not in page


def test_figures_stay_beside_a_later_failure(page_of):
    page = page_of(entry("layers: plain", tables={"A": "| 1 |"}), entry("layers: plain", "failed", tail="no beads"))
    assert "| 1 |" in page and "- layers (plain): failed on 2026-11-27 at commit aaaaaaa: `no beads`" in page


def test_a_failure_is_told_without_the_folders_of_the_machine(page_of):
    tail = 'Traceback\n  File "/opt/torch/x.py", line 3\nRuntimeError: no `beads` at "/opt/torch/abacus.cu":607\n'
    page = page_of(*(entry(f"layers: {name}", "failed", tail=tail) for name in ("plain", "compiled")))
    reason = "`RuntimeError: no 'beads' at \"abacus.cu\":607`"
    assert f"- layers (all 2): failed on 2026-11-27 at commit aaaaaaa: {reason}" in page and "/opt" not in page


def test_a_part_that_was_stopped_is_told_with_its_seconds(page_of):
    page = page_of(entry("layers: plain", "stopped", tail=""))
    assert "- layers (plain): stopped after 10 s on 2026-11-27 at commit aaaaaaa." in page


def test_of_the_tests_on_the_device_the_counts_are_shown_and_which_failed(page_of):
    figures = {"tests": 7, "failures": 1, "errors": 0, "skipped": 2, "failed": ["tests.devices.test_x::test_law[cuda]"]}
    page = page_of(entry("tests on the device", "failed", figures=figures, tail="E   ValueError: no"))
    assert "7 tests: 1 failed, 2 were skipped.\n\n- `test_law[cuda]`\n\n" in page
    assert "- tests on the device: failed on 2026-11-27 at commit aaaaaaa: `ValueError: no`" in page


def test_trainings_are_one_table_over_seeds(page_of):
    page = page_of(training("D4", 1, 0.03), training("D4", 0, 0.01), training("C1", 0, 0.05, ends="C1"))
    assert "Fields 16,32, precision bf16-mixed; Abacus 80GB, PyTorch 2.11, 2026-11-27, commit aaaaaaa." in page
    rows = [row for row in page.splitlines() if row.startswith("| ")]
    assert rows == [
        "| strategy | seeds | epochs | test error, % | ends at | seconds | cost |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| C1 | 0 | 20 | 5.00 | C1 | 10 | 1.00 |",
        "| D4 | 0, 1 | 20 | 2.00 ± 1.41 | D4 | 10 | 1.50 |",
    ]
    assert "- training (C1, seed 1): has never run." in page


def test_operations_of_one_short_name_are_added_up_and_the_longest_are_shown(page_of):
    longest = {f"op{n}": 100.0 - n for n in range(9)} | {"void a::f<1>(int)": 300.0, "void a::f<2>(int)": 200.0}
    figures = {"static D4": {"wall seconds": 0.002, "busy seconds": 0.001, "longest": longest}}
    page = page_of(entry("where the time goes: plain", figures=figures, tables={"A": "not this"}))
    assert "static D4: 2.00 ms a step, of which the device was at work 1.00.\n\n| operation |" in page
    rows = [row for row in page.splitlines() if row.startswith("| `")]
    assert rows[0] == "| `f` | 0.500 | 50.0 % |" and rows[-1].startswith("| `op4`") and len(rows) == 6


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        ("void cudnn::bn_bw_1C11_kernel_new<float, float2, 32>(float, float const*)", "bn_bw_1C11_kernel_new"),
        ("void at::native::(anonymous namespace)::pool_frame<float, int>(int)", "pool_frame"),
        ("void cudnn::nchwToNhwcKernel<float, (cudnnKernelDataType_t)0>(p<float>)", "nchwToNhwcKernel"),
        (
            "void at::native::reduce_kernel<512, at::Op<float, f::operator()(int&)::{lambda(float)#1}> >()",
            "reduce_kernel",
        ),
        ("void cutlass__5x::Kernel<cutlass_s1688fprop_tf32_128x128_16x4_nhwc>(x::Params)", "cutlass_s1688fprop_tf32"),
        ("std::enable_if<!(false), void>::type internal::gemvx::kernel<int, float>(int)", "gemvx::kernel"),
        ("sm90_xmma_wgrad_implicit_gemm_f32f32_tf32f32_nhwc_tilesize128x128x32_g1", "sm90_xmma_wgrad_implicit_gemm"),
        ("nvjet_hsh_128x256_64x4_1x2_h_bz_coopA_NTT", "nvjet_hsh"),
        ("Memcpy DtoD (Device -> Device)", "Memcpy DtoD"),
        ("aten::mkldnn_convolution", "mkldnn_convolution"),
        ("triton_" + "x" * 90, "triton_" + "x" * 52 + "…"),
    ],
)
def test_operations_are_named_by_their_bare_function(operation, name):
    assert short_name(operation) == name


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        ("begun\nValueError: first\nRuntimeError: second", "ValueError: first"),
        ("E       torch._dynamo.exc.Unsupported: no graph\nAssertionError", "torch._dynamo.exc.Unsupported: no graph"),
        ("Traceback (most recent call last):\n  indented\nAssertionError\n", "AssertionError"),
        (
            "usage: layers.py\nlayers.py: error: there is no such option\n\n",
            "layers.py: error: there is no such option",
        ),
        (
            "OSError: ~/x/y.so and /usr/lib/z.so, see https://pytorch.org/docs/x",
            "OSError: y.so and z.so, see https://pytorch.org/docs/x",
        ),
        ("", ""),
    ],
    ids=["the first of two", "told by pytest", "without a message", "a refusal", "with folders", "nothing"],
)
def test_the_reason_of_a_failure_is_the_first_line_that_names_an_error_or_else_the_last(tail, reason):
    assert reason_in(tail) == reason
