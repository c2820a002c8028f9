"""Every code block of the README runs as written, in order; only ports and the state folder are this test's own."""

import pytest

from documents import blocks_of, running_system

pytestmark = pytest.mark.timeout(400)


def test_every_block_of_the_readme_works() -> None:
    run, *others = [block.text for block in blocks_of("README.md")]
    assert run.strip() == "make run"
    assert len(others) >= 6
    with running_system() as system:
        printed = "".join(system.run([system.own(block) for block in others]))
    for shown in (
        '"accepted":1',
        '"customer_id":"C0000123"',
        "claim_number",
        "dissatisfied_share",
        "top_up/unionpay_not_credited",
    ):
        assert shown in printed, (shown, printed[-4000:])
