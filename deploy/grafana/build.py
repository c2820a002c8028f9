"""Writes the dashboards: `.venv/bin/python deploy/grafana/build.py [FOLDER]`, by default deploy/grafana/dashboards.

Those of processes and products are made from the shipped indicator catalogue, and from the operator's own where KPI_CATALOGUE_DIR
names it. A dashboard in the folder that is built no longer is deleted.
"""

import sys
from pathlib import Path

from boards import consumers, indicator, indicators, ingest, kpi, overview, postgres, processes, recovery, ticketing
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from closedloop.kpi.main import catalogue_of_files

BOARDS = (overview, ingest, kpi, indicators, indicator, ticketing, recovery, consumers, postgres)


def build(folder: Path) -> None:
    """One JSON file a dashboard."""
    folder.mkdir(parents=True, exist_ok=True)
    made = [builder.build() for builder in (*(board.dashboard() for board in BOARDS), *processes.dashboards(catalogue_of_files()))]
    for dashboard in made:
        text = JSONEncoder(sort_keys=True, indent=2, ensure_ascii=False).encode(dashboard)
        (folder / f"{dashboard.uid}.json").write_text(text + "\n")
    for file in folder.glob("closedloop-*.json"):
        if file.stem not in {dashboard.uid for dashboard in made}:
            file.unlink()


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "dashboards")
