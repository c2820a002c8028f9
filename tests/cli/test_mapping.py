"""A mapping file is checked entry by entry; what is wrong is named with file, line, entry and word."""

from pathlib import Path

import pytest

from cli.commandline import Cli
from closedloop.cli.imports.mapping import TYPES_OF_KIND
from closedloop.cli.imports.mapping_file import load_mapping, parse_mapping
from closedloop.cli.problems import CommandFailed

GOOD = """\
kind: complaints
source: /crm
id: ticket
time: {column: at}
constants: {topic_path: billing}
fields:
  complaint_id: ticket
  customer_id: customer
  region: {column: city, transform: slug}
"""


@pytest.mark.parametrize(
    ("line", "wrong", "said"),
    [
        ("kind: complaints", "kind: complaint", "m.yaml:1: kind: 'complaint' is not known; it must be complaints,"),
        ("source: /crm\n", "", "m.yaml:1: source: is missing"),
        ("  region:", "  regoin:", "m.yaml:9: fields.regoin: 'regoin' is not known; is region meant?"),
        ("transform:", "transfrom:", "m.yaml:9: fields.region.transfrom: 'transfrom' is not known; is transform meant?"),
        ("transform: slug", "transform: slugg", "m.yaml:9: fields.region.transform: 'slugg' is not known; it must be slug,"),
        ("complaint_id: ticket", "complaint_id: []", "m.yaml:7: fields.complaint_id: must be entries, as in {column: name}"),
        ("{column: at}", "{column: at, zone: Asia/Nanjing}", "m.yaml:4: time.zone: 'Asia/Nanjing' is not an IANA time zone"),
        ("{column: at}", "{format: iso}", "m.yaml:4: time.column: is missing"),
        ("{topic_path: billing}", "{}", "m.yaml:6: fields: complaint.registered.v1 needs topic_path"),
        ("kind: complaints", "kind: complaints\nkind: orders", "m.yaml:2: 'kind' stands here a second time"),
        (
            "constants:",
            "type: order.status_changed.v1\nconstants:",
            "m.yaml:5: type: 'order.status_changed.v1' is no event type of",
        ),
        ("constants:", "typ: complaint.closed.v1\nconstants:", "m.yaml:5: typ: 'typ' is not known; is type meant?"),
        ("constants:", "extra: {severity: prio}\nconstants:", "m.yaml:5: extra.severity: is a name of the contract"),
        ("billing}", "billing, region: NJ}", "m.yaml:5: constants.region: stands under `fields` too"),
        ("id: ticket\ntime", "id: []\ntime", "m.yaml:3: id: name the columns"),
        ("transform: slug", "otherwise: x", "m.yaml:9: fields.region.otherwise: is for words that `map` does not have"),
        ("fields:", "fields: [", "m.yaml:8: this is not YAML"),
        (GOOD, "just text", "m.yaml: a mapping file must have the entries kind"),
        (GOOD, "", "m.yaml: a mapping file must have the entries kind"),
    ],
)
def test_a_wrong_entry_is_named(line: str, wrong: str, said: str) -> None:
    assert line in GOOD
    with pytest.raises(CommandFailed) as caught:
        parse_mapping(GOOD.replace(line, wrong), "m.yaml")
    assert str(caught.value).startswith(said)


def test_an_evaluation_needs_a_verdict() -> None:
    text = (
        "{kind: evaluations, source: /s, id: a, time: {column: at}, constants: {kind: survey}, fields: {customer_id: a, region: b}}"
    )
    with pytest.raises(CommandFailed, match="fields: an evaluation needs `score` or `satisfied`"):
        parse_mapping(text, "m.yaml")


def test_yes_and_no_and_codes_with_a_leading_zero_are_words_not_booleans_and_octal_numbers() -> None:
    text = GOOD.replace("transform: slug", "map: {yes: Y, no: N, 0571: HZ, 2026-11-20: D}").replace("billing", "0571")
    mapping = parse_mapping(text, "m.yaml")
    assert mapping.fields["region"].map == {"yes": "Y", "no": "N", "0571": "HZ", "2026-11-20": "D"}
    assert mapping.constants == {"topic_path": "0571"}


def test_the_columns_that_are_needed_are_known_before_a_row_is_read() -> None:
    assert parse_mapping(GOOD, "m.yaml").columns() == ["ticket", "at", "customer", "city"]


@pytest.mark.parametrize("kind", TYPES_OF_KIND)
def test_init_prints_a_mapping_of_each_kind_that_is_complete(kind: str, cli: Cli, tmp_path: Path) -> None:
    printed = cli("import", "--init", kind)
    assert printed.code == 0
    file = tmp_path / "mapping.yaml"
    file.write_text(printed.out, encoding="utf-8")
    assert load_mapping(file).kind == kind


def test_init_of_something_else_names_the_kinds(cli: Cli) -> None:
    ran = cli("import", "--init", "tickets")
    assert ran.code == 1
    assert "complaints, evaluations, enquiries, orders" in ran.err
