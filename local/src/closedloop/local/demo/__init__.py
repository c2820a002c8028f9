"""Realistic traffic against a running stack, to watch it live: a city of customers, its rhythm, its bad days."""
