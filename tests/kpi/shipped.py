"""The shipped catalogue, read once: that takes half a second."""

from typing import Final

from closedloop.kpi.catalogue_files import load_catalogue

SHIPPED: Final = load_catalogue()
