#!/usr/bin/env python3
"""The image's health check: exit code 0 where the service in this container answers 200 at a path, /livez by default; and in the
image of the tools, which serves nothing."""

import http.client
import os
import sys

path = sys.argv[1] if len(sys.argv) > 1 else "/livez"
port = os.environ.get(os.environ["SERVICE"].upper() + "_PORT")
if port is None:
    sys.exit(0)
connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=3)
try:
    connection.request("GET", path)
    sys.exit(0 if connection.getresponse().status == 200 else 1)
except (OSError, http.client.HTTPException) as error:
    sys.exit(f"{path}: {error}")
