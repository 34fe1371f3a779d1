"""Progress: plain lines where nobody can see a bar move, bars where somebody can, and a log of what was said."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from linnaeus.cli.bars import Bars, duration_text


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def plain(clock: Clock) -> tuple[Bars, io.StringIO]:
    out = io.StringIO()
    return Bars(Console(file=out, force_terminal=False, width=20), clock=clock), out


def test_a_finished_task_is_one_plain_line(clock: Clock) -> None:
    bars, out = plain(clock)
    with bars.task("Reading images", total=60_000, unit="images") as task:
        for _ in range(6):
            clock.now += 1
            task.advance(10_000, status="loss 0.31")
    assert out.getvalue() == "Reading images: 60,000 images, in 6.0 s, 10,000 images/s, loss 0.31\n"


def test_a_long_task_says_where_it_stands_at_most_every_ten_seconds(clock: Clock) -> None:
    bars, out = plain(clock)
    with bars.task("Training", total=400, unit="batches") as task:
        for _ in range(400):
            clock.now += 0.125
            task.advance(status="loss 2")
            task.advance(0)
    lines = out.getvalue().splitlines()
    assert lines[0] == "Training: 80 of 400 batches, 8.0 batches/s, 40.0 s left, loss 2"
    assert lines[-1] == "Training: 400 batches, in 50.0 s, 8.0 batches/s, loss 2"
    assert len(lines) == 5


def test_a_task_that_breaks_off_says_how_far_it_came(clock: Clock) -> None:
    bars, out = plain(clock)
    with pytest.raises(KeyboardInterrupt), bars.task("Training", total=10, unit="batches") as task:
        task.advance(3)
        clock.now += 2
        raise KeyboardInterrupt
    assert out.getvalue() == "Training: stopped at 3 of 10 batches, in 2.0 s, 1.5 batches/s\n"


def test_nothing_counted_and_no_time_passed_is_no_division_by_zero(clock: Clock) -> None:
    bars, out = plain(clock)
    with bars.task("Nothing", total=0, unit="images"):
        pass
    with bars.task("Stalled", total=5, unit="images") as task:
        clock.now += 11
        task.advance(0)
    assert out.getvalue().splitlines() == [
        "Nothing: 0 images, in 0.0 s",
        "Stalled: 0 of 5 images, 0.0 images/s",
        "Stalled: ended at 0 of 5 images, in 11.0 s, 0.0 images/s",
    ]


def test_plain_output_has_no_control_characters_markup_or_wrapping(clock: Clock) -> None:
    bars, out = plain(clock)
    bars.say("classes: [red], [/bold] and a line that is much longer than the console is wide")
    with bars.task("[b]", total=1, unit="images") as task:
        task.advance(status="[blink]")
    text = out.getvalue()
    assert "[red], [/bold]" in text
    assert "[blink]" in text
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text)
    assert text.count("\n") == 2


def test_a_terminal_shows_bars_with_rate_and_status_and_leaves_only_the_outermost() -> None:
    out = io.StringIO()
    bars = Bars(Console(file=out, force_terminal=True, width=150, color_system=None, _environ={}))
    with bars.task("[outer]", total=2000, unit="images") as outer:
        with bars.task("inner", total=1, unit="batches") as inner:
            inner.advance(status="halfway")
        bars.say("between [two] bars")
        outer.advance(2000, status="loss 0.5")
    with bars.task("next", total=1, unit="images") as task:
        task.advance()
    frames = out.getvalue()
    assert re.search(r"inner .* 0/1", frames)
    assert "between [two] bars\n" in frames
    final = frames[frames.rindex("[outer]") :]
    assert re.match(r"\[outer\] .* 2,000/2,000 .* loss 0.5", final)
    assert "inner" not in final
    assert re.search(r"next .* 1/1", final)


def test_a_bar_that_breaks_off_gives_the_terminal_back() -> None:
    bars = Bars(Console(file=io.StringIO(), force_terminal=True, _environ={}))
    with pytest.raises(ValueError, match="boom"), bars.task("a", total=2, unit="images"):
        raise ValueError("boom")
    assert not bars._bars.live.is_started
    with bars.task("b", total=1, unit="images") as task:
        task.advance()


def test_the_log_has_everything_from_the_beginning_with_times(clock: Clock, tmp_path: Path) -> None:
    bars, out = plain(clock)
    bars.say("first ünïcode\nand its second line")
    bars.log_to(tmp_path / "log.txt")
    (tmp_path / "log.txt").write_text("of an earlier run\n" + (tmp_path / "log.txt").read_text("utf-8"), "utf-8")
    with bars.task("Reading", total=1, unit="images") as task:
        task.advance()
    lines = (tmp_path / "log.txt").read_text(encoding="utf-8").splitlines()
    stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d  "
    assert lines[0] == "of an earlier run"
    for line, text in zip(
        lines[1:], ["first ünïcode", "and its second line", "Reading: 1 images, in 0.0 s"], strict=True
    ):
        assert re.fullmatch(stamp + re.escape(text), line), line
    assert "20" not in out.getvalue(), "times belong to the log only"


def test_a_log_that_cannot_be_written_is_said_once_and_stops_nothing(clock: Clock, tmp_path: Path) -> None:
    bars, out = plain(clock)
    bars.say("one")
    bars.log_to(tmp_path / "missing" / "log.txt")
    bars.say("two")
    bars.say("three")
    assert out.getvalue().replace("\n", " ").count("cannot be written") == 1
    assert out.getvalue().endswith("two\nthree\n")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (59.94, "59.9 s"), (59.96, "1 min 0 s"), (200.4, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_durations_read_naturally(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
