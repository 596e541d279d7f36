"""What a campaign on a GPU consists of: each part is one command that writes its figures as JSON.

A new piece of work adds its parts here, where they should come in order, and nothing else has to change.
"""

from __future__ import annotations

from dataclasses import dataclass

BF16 = ("--autocast", "bf16")
KEY_LAYERS = "static D4;static C4;mixture of six;mixture of six, tied"
KEY_NETWORKS = "static D4;mixture of six"
SMALL_NETWORK = ("--fields", "1,1", "--image-size", "12", "--batch-size", "4", "--rounds", "2")


@dataclass(frozen=True)
class Part:
    """A unit of a campaign, which is lost as a whole when the run is killed.

    Attributes:
        name: Its name in the ledger.
        script: Of this folder.
        arguments: Of the script, `--device` and `--json` apart.
        seconds: How long it is expected to take, its start included, before anything of its family was measured.
        tiny: Arguments that come after these for a dry run on a CPU.
        data: Files that it reads, under EQUIMORPH_DATA.
        timed: Whether its figures are times, so that nothing else may run beside it.
    """

    name: str
    script: str
    arguments: tuple[str, ...]
    seconds: float
    tiny: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    timed: bool = True

    @property
    def family(self) -> str:
        """Parts whose lengths tell of one another: those of one script, compiled ones apart."""
        return f"{self.script} compiled" if "--compile" in self.arguments else self.script


def _ways(*, compiled: bool) -> list[tuple[str, tuple[str, ...]]]:
    """float32 and bf16, channels first and last, with the words for it."""
    found = []
    for precision, autocast in (("float32", ()), ("bf16", BF16)):
        for layout, last in (("channels first", ()), ("channels last", ("--channels-last",))):
            name = f"{precision}, {layout}{', compiled' if compiled else ''}"
            found.append((name, (*autocast, *last, *(("--compile",) if compiled else ()))))
    return found


def _layers(compiled: bool) -> list[Part]:
    shapes = ("--shapes", "16x28x256,32x14x256,16x14x64", "--rounds", "15")
    only = ("--only", KEY_LAYERS) if compiled else ()
    tiny = ("--shapes", "1x5x2", "--rounds", "2")
    return [
        Part(f"layers: {name}", "layers.py", (*shapes, *way, *only), 60 if compiled else 20, tiny)
        for name, way in _ways(compiled=compiled)
    ]


def _steps(compiled: bool) -> list[Part]:
    size = ("--fields", "16,32", "--batch-size", "256", "--rounds", "5")
    only = ("--only", KEY_NETWORKS) if compiled else ()
    return [
        Part(f"network step: {name}", "network_step.py", (*size, *way, *only), 90 if compiled else 25, SMALL_NETWORK)
        for name, way in _ways(compiled=compiled)
    ]


def _trainings() -> list[Part]:
    """At the paper's size, seed by seed, the cheap ones first."""
    lengths = {
        "static:D4": 60,
        "static:C4": 60,
        "static:C1": 60,
        "augmented": 60,
        "growth": 90,
        "paper-D": 130,
        "paper-E": 240,
    }
    tiny = ("--data", "digits", "--fields", "1,1", "--epochs", "8", "--batch-size", "200", "--precision", "32")
    return [
        Part(
            f"training: {strategy}, seed {seed}",
            "training_run.py",
            ("--strategy", strategy, "--seed", str(seed), "--epochs", "20"),
            seconds,
            tiny,
            ("mnist.npz",),
            timed=False,
        )
        for seed in range(3)
        for strategy, seconds in lengths.items()
    ]


PARTS: tuple[Part, ...] = (
    Part("tests on the device", "cuda_tests.py", (), 60, ("--only", "test_heads or test_data_that_fit")),
    Part(
        "determinism",
        "determinism.py",
        ("--fields", "16,32"),
        45,
        ("--fields", "1,1", "--image-size", "12", "--steps", "2", "--precisions", "32", "--rounds", "2"),
    ),
    *_layers(compiled=False),
    *_steps(compiled=False),
    *(
        Part(
            f"network step: {name}, CUDA graph",
            "network_step.py",
            ("--fields", "16,32", "--batch-size", "256", "--rounds", "5", "--graph", "--only", KEY_NETWORKS, *way),
            40,
            SMALL_NETWORK,
        )
        for name, way in (("float32", ()), ("bf16", BF16))
    ),
    Part("where the time goes: float32", "kernel_times.py", ("--batch-size", "256"), 20, SMALL_NETWORK),
    Part("where the time goes: bf16", "kernel_times.py", ("--batch-size", "256", *BF16), 20, SMALL_NETWORK),
    *_layers(compiled=True),
    *_steps(compiled=True),
    *(
        Part(
            f"training loop: {precision}",
            "training_loop.py",
            ("--precision", precision, "--steps", "60", "--calls", "1", "--rounds", "5"),
            30,
            ("--sizes", "small", "--steps", "1", "--rounds", "2"),
        )
        for precision in ("32", "bf16-mixed")
    ),
    Part(
        "candidates together",
        "together.py",
        ("--candidates", "4,8", "--rounds", "5"),
        60,
        ("--candidates", "2", "--sizes", "digits", "--rounds", "2", "--batch-size", "4"),
    ),
    *_trainings(),
)
