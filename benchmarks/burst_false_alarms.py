"""How often the batch trigger is wrong, and how soon it is right, on simulated streams of complaints.

Per volume and kind of stream: false alarms per subject and month against the rate that was set, and the hours from the
beginning of a five-fold burst (in waking hours, 09:00 to 20:00; `--hours 0 6`: at night) to its firing. Each subject has
29 days of history and is watched for 30 days. F by volume in ticketing's alarm_rate.py comes from here.

    python benchmarks/burst_false_alarms.py [--subjects 100] [--target 0.1] [--alone] [--own-rhythm 0.25] [--hours 9 20]
"""

import argparse
import sys
import timeit
from dataclasses import dataclass
from datetime import timedelta
from math import sqrt
from pathlib import Path

import numpy as np
from bars import Bars

from closedloop.ticketing.domain.alarm_rate import BurstSettings
from closedloop.ticketing.domain.burst import firings

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from ticketing.domain.burst_streams import (
    HISTORY_DAYS,
    KINDS,
    Streams,
    bins_of,
    day_start,
    delays,
    everyone_of,
    false_alarms,
)

VOLUMES = (2, 5, 10, 20, 60, 120, 240, 500, 1000, 2400, 10_000)
SEED = 20260301


@dataclass(frozen=True)
class Cell:
    per_month: float
    error: float
    median_delay: float
    within_two_hours: float


def measure(kind: str, volume: float, options: argparse.Namespace) -> Cell:
    settings = BurstSettings(false_alarms_per_month=options.target)
    rng = np.random.default_rng([SEED, int(volume), KINDS.index(kind)])
    streams = Streams(kind, volume, own_rhythm=options.own_rhythm, hourly=options.hourly, daily=options.daily)
    found = false_alarms(streams, options.subjects, rng, settings, alone=options.alone)
    alarms = sum(map(len, found))
    hours = delays(streams, options.subjects, rng, settings, hours=tuple(options.hours), lasts=timedelta(hours=6))
    return Cell(
        per_month=alarms / options.subjects,
        error=sqrt(max(alarms, 1)) / options.subjects,
        median_delay=float(np.median(hours)),
        within_two_hours=float(np.mean(hours <= 2)),
    )


def speed() -> tuple[float, float]:
    """Seconds for a replay of 90 days of one subject (12,960 steps) and for one live step."""
    rng = np.random.default_rng(SEED)
    streams = Streams("hourly", 240, days=HISTORY_DAYS + 90)
    counts = rng.poisson(streams.rates(rng))
    subject, everyone, settings = bins_of(counts), everyone_of(counts * 2), BurstSettings()
    after, until = day_start(HISTORY_DAYS), day_start(streams.days)
    now = after + timedelta(days=40, hours=15)

    def replay() -> None:
        firings(subject, everyone, settings, after=after, until=until)

    def step() -> None:
        firings(subject, everyone, settings, after=now, until=now + timedelta(minutes=10))

    # The least of several runs: the rest is what else the machine does.
    return min(timeit.repeat(replay, number=1, repeat=5)), min(timeit.repeat(step, number=10, repeat=10)) / 10


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=100, help="per volume and kind")
    parser.add_argument("--target", type=float, default=0.1, help="false alarms per subject and month that are set")
    parser.add_argument("--hourly", type=float, default=0.2, help="variance of the swings by the hour")
    parser.add_argument("--daily", type=float, default=0.1, help="variance of the swings by the day")
    parser.add_argument("--own-rhythm", type=float, default=0.0, help="how far a subject's hours stray from all others'")
    parser.add_argument("--hours", type=int, nargs=2, default=(9, 20), help="local hours between which bursts begin")
    parser.add_argument("--alone", action="store_true", help="each subject is the only one there is")
    options = parser.parse_args(arguments)

    print(f"{options.subjects} subjects a cell, target {options.target} false alarms per subject and month")
    print("false alarms a month | median hours to a five-fold burst | share of bursts found within 2 h")
    print(f"{'a day':>6}  " + "  ".join(f"{kind:^30}" for kind in KINDS))
    total = cells = 0.0
    for volume in VOLUMES:
        row = [measure(kind, volume, options) for kind in KINDS]
        total += sum(cell.per_month for cell in row)
        cells += len(row)
        columns = (f"{c.per_month:.3f} ±{c.error:.3f} | {c.median_delay:5.2f} | {c.within_two_hours:4.0%}" for c in row)
        print(f"{volume:>6}  " + "  ".join(f"{column:^30}" for column in columns), flush=True)
    replay, step = speed()
    print(f"90 days of one subject, 12,960 steps: {replay * 1000:.0f} ms; one live step over 28 days: {step * 1000:.2f} ms")
    bars = Bars()
    bars.at_most("false alarms to the rate that was set", total / cells / options.target, 1)
    bars.at_most("a replay of 90 days of one subject to one second", replay, 1)
    bars.at_most("one live step to one millisecond", step * 1000, 1)
    bars.exit()


if __name__ == "__main__":
    main()
