"""Takes a service's place in the tests of the stack: answers /readyz, ends on SIGTERM, and misbehaves when told to.

STANDIN_<NAME> in the environment: `unready` never gets ready; `dies` ends at once; `deaf` ignores SIGTERM;
`unmigrated` fails its migration. GET /die ends it with exit code 3.
"""

import http.server
import json
import os
import signal
import sys


def main(name: str) -> None:
    mood = os.environ.get(f"STANDIN_{name.upper()}", "")
    if sys.argv[1] == "migrate":
        assert os.environ["DATABASE_URL"].startswith("postgresql://")
        sys.exit("no such role" if mood == "unmigrated" else 0)
    assert "DATABASE_URL" not in os.environ, "only migrations may be the administrator"
    if mood == "dies":
        print(json.dumps({"event": "refused to start", "level": "critical", "reason": "no such indicator file"}))
        print(json.dumps({"event": "Application shutdown complete.", "level": "info"}))
        sys.exit(2)
    if mood == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/die":
                os._exit(3)
            self.send_response(503 if mood == "unready" else 200)
            self.end_headers()
            self.wfile.write(b"waiting for Kafka")

        def log_message(self, *args: object) -> None:
            pass

    http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ[f"{name.upper()}_PORT"])), Handler).serve_forever()
