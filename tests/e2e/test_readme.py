"""Every code block of the README runs as written, in order; only ports and the state folder are this test's own.

