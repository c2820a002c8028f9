"""YAML without its surprises, and with line numbers for error messages.

Plain YAML 1.1 reads the keys `yes` and `no` as booleans, 0571 as an octal number and 2026-11-20 as a date, and takes the last of
two equal keys. Here keys are always text, the booleans are `true` and `false`, and an equal key is refused.
"""

import re
from typing import Any

import yaml

from closedloop.cli.problems import CommandFailed

Path = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (yaml's own protocol)


_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(?:~|null|)$"), ["~", "n", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(?:true|false)$"), list("tf"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"-?(?:0|[1-9][0-9]*)$"), list("-0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"-?(?:0|[1-9][0-9]*)\.[0-9]+(?:[eE][-+]?[0-9]+)?$"), list("-0123456789")
)


def load(text: str, name: str) -> tuple[Any, dict[Path, int]]:
    """The document and the line of each entry, by its path. CommandFailed names file and line."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        lines: dict[Path, int] = {}
        return (None if node is None else _value(loader, node, (), lines, name)), lines
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise CommandFailed(f"{name}:{line}: this is not YAML: {error.problem}.") from None
    except yaml.YAMLError as error:
        raise CommandFailed(f"{name}: this is not YAML: {' '.join(str(error).split())}.") from None
    finally:
        loader.dispose()


def _value(loader: _Loader, node: yaml.Node, path: Path, lines: dict[Path, int], name: str) -> Any:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise CommandFailed(f"{name}:{line}: a name before a colon must be plain text.")
            key = str(key_node.value)
            if key in found:
                raise CommandFailed(f"{name}:{line}: '{key}' stands here a second time.")
            lines[(*path, key)] = line
            found[key] = _value(loader, value_node, (*path, key), lines, name)
        return found
    if isinstance(node, yaml.SequenceNode):
        return [_value(loader, item, (*path, i), lines, name) for i, item in enumerate(node.value)]
    return loader.construct_object(node)
