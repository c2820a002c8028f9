"""Who asks, and what the token allows."""

from dataclasses import dataclass

from closedloop.common.http.problems import Forbidden


@dataclass(frozen=True, slots=True)
class Principal:
    """The holder of a valid token. `regions` is None where the token covers all; `units` is None where it speaks for every unit."""

    subject: str
    client: str
    scopes: frozenset[str]
    regions: frozenset[str] | None
    units: frozenset[str] | None = None

    def check_scope(self, scope: str) -> None:
        """Raises Forbidden where the token does not have it."""
        if scope not in self.scopes:
            raise Forbidden(f"The scope {scope} is needed; the token has {' '.join(sorted(self.scopes)) or 'none'}.")

    def covers(self, region: str) -> bool:
        """Whether the token's regions contain this one."""
        return self.regions is None or region in self.regions

    def region_filter(self, region: str | None = None) -> list[str] | None:
        """The regions to ask the database for (None: all). A foreign region in a filter is Forbidden."""
        if region is None:
            return None if self.regions is None else sorted(self.regions)
        if not self.covers(region):
            raise Forbidden(f"region: the token does not cover {region}", field="region")
        return [region]

    def check_unit(self, owner: str, what: str) -> None:
        """Raises Forbidden where the token does not speak for the unit that answers for `what`."""
        if self.units is not None and owner not in self.units:
            raise Forbidden(f"{what} is {owner}'s; the token speaks for {', '.join(sorted(self.units)) or 'no unit'}.")

    def check_all_units(self, what: str) -> None:
        """Raises Forbidden where the token speaks for some units only."""
        if self.units is not None:
            raise Forbidden(
                f"{what} is for who answers for all units; the token speaks for {', '.join(sorted(self.units)) or 'none'}."
            )
