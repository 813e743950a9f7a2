"""Quality of loops: the figures that the page about stopping rests on, on fewer loops."""

from benchmarks.loops_quality import SETTINGS, measure

LOOPS = 60


def test_the_figures_are_the_same_in_every_process() -> None:
    """Everything random comes from the seed of a run."""
    settings = SETTINGS["from best, 2 drafts, 3 samples within 0.1"]
    assert measure(LOOPS, **settings) == measure(LOOPS, **settings)


def test_samples_near_the_threshold_make_passes_right() -> None:
    """With them fewer runs pass by luck, for less than the calls of samples always."""
    alone, near, always = (
        measure(LOOPS, **SETTINGS[name])
        for name in ("from best", "from best, 3 samples within 0.1", "from best, 3 samples always")
    )
    assert alone.right is not None
    assert near.right is not None
    assert near.right > alone.right
    assert alone.calls < near.calls < always.calls
    assert near.passed < measure(LOOPS, bias=0.05, **SETTINGS["from best, 3 samples within 0.1"]).passed


def test_patience_saves_attempts() -> None:
    """It never ends later than no rule does."""
    assert (
        measure(LOOPS, **SETTINGS["from best, patience 2"]).attempts < measure(LOOPS, **SETTINGS["from best"]).attempts
    )
