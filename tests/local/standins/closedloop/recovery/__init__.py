"""A stand-in: see standin.py."""
