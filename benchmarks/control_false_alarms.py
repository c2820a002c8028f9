"""How often a control chart signals although nothing has changed, per rule set, on simulated series.

Alarms per 1,000 judged periods of one series, on the side that is worse. A day's chart judges 365 periods a year, an hour's 8,760.

    python benchmarks/control_false_alarms.py [--series 150] [--periods 500]
"""

import argparse
import sys
from math import sqrt
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from kpi.in_control import KINDS, RULE_SETS, false_alarms

BASELINES = {"28 days": (28, 1), "168 hours": (168, 1), "28 hours of day": (28, 24)}
SEED = 20261120


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=150)
    parser.add_argument("--periods", type=int, default=500)
    options = parser.parse_args()
    error = 1000 * sqrt(0.005 / (options.series * options.periods))
    print(f"alarms per 1,000 periods; {options.series} series of {options.periods} periods; ± {error:.2f} at 5")
    size = (options.series, options.periods)
    names = [f"{kind.name}, {kind.chart}" for kind in KINDS]
    for written, (baseline, every) in BASELINES.items():
        print(f"\nbaseline {written:16}" + "".join(f"{name:>20}" for name in names))
        for title, rules in RULE_SETS.items():
            rates = [
                # a day is one period of the rhythm
                None
                if written == "28 days" and kind.name == "daily rhythm"
                else false_alarms(kind, rules, baseline, *size, SEED, every)
                for kind in KINDS
            ]
            print(f"{title:25}" + "".join(f"{'-' if rate is None else f'{1000 * rate:.1f}':>20}" for rate in rates))


if __name__ == "__main__":
    main()
