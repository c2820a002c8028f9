"""The commands behind `make run`, `make token` and `make demo`."""

import contextlib
import sys
from typing import Annotated

import typer

from closedloop.local.issuer import Issuer
from closedloop.local.places import var_dir
from closedloop.local.problems import LocalStackError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help="The whole system on this machine.")


@app.command("run")
def run_command() -> None:
    """Start Kafka, PostgreSQL and all services; Ctrl-C stops them."""
    from closedloop.local.run import run  # all of Kafka's and the database's clients: a token needs none of them

    run()


@app.command()
def token(
    role: Annotated[str, typer.Option(help="producer, agent, analyst, manager or admin")],
    subject: Annotated[str | None, typer.Option(help="who the token is for; default local-<role>")] = None,
    regions: Annotated[str | None, typer.Option(help="region codes, as in NJ,SZ; default all")] = None,
    units: Annotated[str | None, typer.Option(help="the units that it answers for, as in it_support,hotline; default all")] = None,
) -> None:
    """Print a token for curl, signed by the local stack's issuer, valid for 12 hours."""
    chosen = ("*",) if regions is None else tuple(regions.split(","))
    print(Issuer(var_dir() / "issuer").mint(role, subject, chosen, units=None if units is None else units.split(",")))


@app.command()
def demo(
    speed: Annotated[float, typer.Option(min=0.1, help="60 plays an hour a minute; 1 is live")] = 60,
    rate: Annotated[float, typer.Option(min=0.01, help="multiplies all volumes; 1 is about 20,000 events a day")] = 1.0,
    hours_back: Annotated[float, typer.Option(min=0, help="where it begins, when faster than live")] = 12,
    history_days: Annotated[int, typer.Option(min=0, help="days of complaints before that, sent at once")] = 21,
    seconds: Annotated[float | None, typer.Option(min=0, help="end after so long; default with Ctrl-C")] = None,
) -> None:
    """Realistic traffic with the rhythm of days and weeks, and incidents, against the running system."""
    from closedloop.local.demo.player import play

    with contextlib.suppress(KeyboardInterrupt):
        play(var_dir(), speed=speed, rate=rate, hours_back=hours_back, history_days=history_days, seconds=seconds)


def main() -> None:
    """Run the command named on the command line; an obstacle is one sentence on stderr and exit code 1."""
    try:
        app()
    except LocalStackError as problem:
        print(problem, file=sys.stderr)
        sys.exit(1)
