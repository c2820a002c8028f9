"""docker-compose.yml as Compose reads it, with a password for each that it asks for."""

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.yml"
VARIABLE = re.compile(r"\$\{([A-Z_]+)(?::([-?])([^}]*))?\}")


def filled(node: Any, values: dict[str, str]) -> Any:
    """What Compose makes of ${NAME:-default} and ${NAME:?sentence} once it has read the file."""

    def value(match: re.Match[str]) -> str:
        name, kind, rest = match.groups()
        if values.get(name):
            return values[name]
        assert kind == "-", f"{name} has no default and .env.example does not ask for it"
        return str(rest)

    if isinstance(node, dict):
        return {key: filled(item, values) for key, item in node.items()}
    if isinstance(node, list):
        return [filled(item, values) for item in node]
    return VARIABLE.sub(value, node) if isinstance(node, str) else node


def asked_for() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


TEXT = COMPOSE.read_text(encoding="utf-8")
ENV = {name: value or (f"secretof{name}" if name.endswith("_PASSWORD") else "") for name, value in asked_for().items()}
STACK: dict[str, Any] = filled(yaml.safe_load(TEXT), ENV)
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
