"""Every code block of the README, and of kpi's, runs as written, in order; only ports and the state folder are this test's own.

The session under "With Docker" needs an engine, and the README says so there: it is the one block in another language, and is
checked to be no more than that."""

import pytest

from documents import blocks_of, running_system

pytestmark = pytest.mark.timeout(400)


def test_every_block_of_the_readmes_works() -> None:
    blocks = blocks_of("README.md")
    elsewhere = [block for block in blocks if block.language != "sh"]
    assert [block.language for block in elsewhere] == ["console"]
    assert all("docker compose" in line or "cp .env" in line for line in elsewhere[0].text.splitlines())
    run, *others = [block.text for block in blocks if block.language == "sh"]
    assert run.strip() == "make run"
    assert len(others) >= 6
    with running_system() as system:
        printed = "".join(system.run([system.own(block) for block in others]))
        reported = "".join(system.run([system.own(block.text) for block in blocks_of("services/kpi/README.md")]))
    for shown in (
        '"accepted":1',
        '"customer_id":"C0000123"',
        "claim_number",
        "dissatisfied_share",
        "top_up/unionpay_not_credited",
    ):
        assert shown in printed, (shown, printed[-4000:])
    assert '"value":97.2' in reported, reported
