"""The dashboards, one file each. `build.py` writes them."""
