"""Which port is whose."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from closedloop.local import ports
from closedloop.local.problems import LocalStackError

SERVICES = ("ingest", "kpi", "ticketing", "recovery")


@dataclass(frozen=True)
class Ports:
    """The ports of one stack on 127.0.0.1; the environment variable of each is <NAME>_PORT."""

    ingest: int = 8101
    kpi: int = 8102
    ticketing: int = 8103
    recovery: int = 8104
    kafka: int = 9092
    postgres: int = 5432

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Ports":
        """The defaults, but for what the environment says. LocalStackError where that is no port."""
        chosen = {}
        for field in fields(cls):
            variable = variable_of(field.name)
            given = environment.get(variable)
            if given is None or not given.strip():
                continue
            if not given.strip().isdigit() or not 0 < int(given) < 65_536:
                raise LocalStackError(f"{variable}={given} is not a port: give a number from 1 to 65535.")
            chosen[field.name] = int(given)
        return cls(**chosen)

    @classmethod
    def free(cls) -> "Ports":
        """Free ones, for a stack beside another."""
        return cls(**{field.name: ports.free_port() for field in fields(cls)})

    def of(self, name: str) -> int:
        """The port of a service, kafka or postgres."""
        port: int = getattr(self, name)
        return port


def variable_of(name: str) -> str:
    """The environment variable that sets the port of `name`."""
    return f"{name.upper()}_PORT"


def check_free(wanted: Mapping[str, int]) -> None:
    """LocalStackError naming every port that is taken, who holds it, and how to choose another."""
    if len(set(wanted.values())) < len(wanted):
        listed = ", ".join(f"{variable_of(name)}={port}" for name, port in wanted.items())
        raise LocalStackError(f"Two parts were given the same port: choose different ones in {listed}.")
    taken = {name: port for name, port in wanted.items() if not ports.is_free(port)}
    if not taken:
        return
    held = ", ".join(f"{port} of {name} {_by(port)}" for name, port in taken.items())
    others = " ".join(f"{variable_of(name)}={_another(port)}" for name, port in taken.items())
    if len(taken) == 1:
        raise LocalStackError(
            f"Port {held}: end that program, or choose another port with {others}, then run the same command again."
        )
    raise LocalStackError(
        f"Ports are taken, {held}: end those programs, or choose other ports with {others}, then run the same command again."
    )


def _by(port: int) -> str:
    holder = ports.holder(port)
    return f"is taken by {holder}" if holder else "is taken"


def _another(port: int) -> int:
    return next((other for other in range(port + 1000, 32_000, 1000) if ports.is_free(other)), 0) or ports.free_port()
