"""Writes the dashboards: `.venv/bin/python deploy/grafana/build.py [FOLDER]`, by default deploy/grafana/dashboards."""

import sys
from pathlib import Path

from boards import consumers, ingest, kpi, overview, postgres, recovery, ticketing
from grafana_foundation_sdk.cog.encoder import JSONEncoder

BOARDS = (overview, ingest, kpi, ticketing, recovery, consumers, postgres)


def build(folder: Path) -> None:
    """One JSON file a dashboard."""
    folder.mkdir(parents=True, exist_ok=True)
    for board in BOARDS:
        dashboard = board.dashboard().build()
        text = JSONEncoder(sort_keys=True, indent=2, ensure_ascii=False).encode(dashboard)
        (folder / f"{dashboard.uid}.json").write_text(text + "\n")


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "dashboards")
