"""What `make run` prints can be pasted into a shell as it is."""

import json
import re
import subprocess

from closedloop.local.guide import guide
from closedloop.local.stack import Stack


def test_the_printed_token_opens_what_the_three_curl_lines_ask(stack: Stack) -> None:
    lines = re.findall(r"^  ((?:TOKEN=|curl ).*)$", guide(stack), re.M)
    assert [line.split()[0].partition("=")[0] for line in lines] == ["TOKEN", "curl", "curl", "curl"]
    answers = []
    for curl in lines[1:]:
        done = subprocess.run(["bash", "-c", f"{lines[0]}\n{curl}"], capture_output=True, text=True, timeout=60, check=True)
        answers.append(json.loads(done.stdout))
    assert answers[0] == {"accepted": 1, "rejected": []}
    assert "items" in answers[1]
    assert answers[2]["items"]
