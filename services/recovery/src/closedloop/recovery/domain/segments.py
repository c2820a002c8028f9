"""Who calls a dissatisfied customer."""

from collections.abc import Set
from typing import Final, Literal, TypeAlias

from closedloop.common.events.model import CustomerClass

Segment: TypeAlias = Literal["complaint_centre", "outbound_city", "outbound_county", "phone_manager", "hotline"]
SignalKind: TypeAlias = Literal["survey", "sms_rating", "complaint_followup", "complaint_closed"]
HOTLINE_CHANNEL: Final = "hotline"


def segment_of(
    kind: SignalKind,
    channel: str | None,
    customer_class: CustomerClass | None,
    region: str,
    *,
    high_value: Set[str],
    county_regions: Set[str],
) -> Segment:
    """The group that calls.

    A complaint's outcome: the city's complaint centre. A survey: the phone manager where the customer is of a class in
    `high_value`, else the outbound callers of city or county (regions in `county_regions` are counties). An SMS rating: the
    hotline for its own contacts, else the city's outbound callers.
    """
    match kind:
        case "complaint_followup" | "complaint_closed":
            return "complaint_centre"
        case "sms_rating":
            return "hotline" if channel == HOTLINE_CHANNEL else "outbound_city"
        case "survey":
            if customer_class in high_value:
                return "phone_manager"
            return "outbound_county" if region in county_regions else "outbound_city"
