"""Every benchmark, one after the other: `make bench`. Each prints ratios against a peer or a limit of the same run, and its bar.

They take over an hour and want the machine for themselves. ONLY=… picks some: `ONLY=kpi_throughput,ingest_throughput make bench`.
"""

import os
import subprocess
import sys
from pathlib import Path

BENCHMARKS = (
    "kpi_throughput",
    "consuming",
    "kpi_series",
    "kpi_against_streams",
    "kpi_three_million",
    "ingest_throughput",
    "ingest_request_sizes",
    "recovery_claims",
    "recovery_latency",
    "burst_false_alarms",
    "control_false_alarms",
    "steady_memory",
    "storage",
)


def main() -> None:
    """Run them; the exit code is 1 where one failed or missed a bar."""
    chosen = [name for name in os.environ.get("ONLY", "").split(",") if name] or list(BENCHMARKS)
    unknown = sorted(set(chosen) - set(BENCHMARKS))
    if unknown:
        sys.exit(f"ONLY names no benchmark: {', '.join(unknown)}. There are {', '.join(BENCHMARKS)}.")
    failed = []
    for name in chosen:
        print(f"\n== {name} ==", flush=True)
        if subprocess.run([sys.executable, str(Path(__file__).with_name(f"{name}.py"))], check=False).returncode:
            failed.append(name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
