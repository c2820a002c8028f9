"""Whether a service grows under a steady load: the slope of its resident memory, after a warm-up, against 1 MB a minute.

python benchmarks/steady_memory.py [--minutes 10] [--warm-up 5] [--per-second 200]
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from closedloop.local.addresses import SERVICES, Ports
from closedloop.local.stack import Stack
from closedloop.local.testing import temporary_folder

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from faults.traffic import Traffic

LIMIT_MB_PER_MINUTE = 1.0
SAMPLE_S = 2.0
PAGE_MB = 4096 / 1e6


def resident_mb(pid: int) -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_MB


def main() -> None:
    """Print the slope of each service and whether it keeps the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--warm-up", type=float, default=5, help="minutes")
    parser.add_argument("--per-second", type=int, default=200)
    options = parser.parse_args()
    with temporary_folder() as folder, Stack(folder, Ports.free()) as stack:
        traffic = Traffic(1, stack.ports.of("ingest"), stack.token("admin"), stack.bootstrap, options.per_second)
        traffic.start()
        samples: dict[str, list[tuple[float, float]]] = {name: [] for name in SERVICES}
        began = time.monotonic()
        end = began + 60 * (options.warm_up + options.minutes)
        while time.monotonic() < end:
            time.sleep(SAMPLE_S)
            minute = (time.monotonic() - began) / 60
            for name in SERVICES:
                pid = stack.service(name).pid
                if pid is not None and minute > options.warm_up:
                    samples[name].append((minute, resident_mb(pid)))
        sent = traffic.finish()
    print(f"{sent.total} records in {options.warm_up + options.minutes:g} min; the slope after {options.warm_up:g} min:")
    for name, of_one in samples.items():
        minutes, megabytes = np.array(of_one).T
        slope = np.polyfit(minutes, megabytes, 1)[0]
        verdict = "keeps" if slope < LIMIT_MB_PER_MINUTE else "BREAKS"
        grown = f"{megabytes[0]:6.0f} → {megabytes[-1]:6.0f} MB   {slope:+.2f} MB/min"
        print(f"  {name:<10} {grown}   {verdict} the limit of {LIMIT_MB_PER_MINUTE:g}")


if __name__ == "__main__":
    main()
