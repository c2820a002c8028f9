"""The rules of service recovery. No I/O, no clock, no framework: times and ids are arguments."""
