"""A made-up city of customers and the rhythm of its days and weeks. Pure."""

from dataclasses import dataclass
from datetime import datetime
from random import Random

CUSTOMERS = 50_000
REGIONS = {"NJ": 30, "SZ": 25, "WX": 15, "CZ": 10, "NT": 10, "XZ": 10}
CLASSES = {"regular": 80, "silver": 12, "gold": 6, "diamond": 2}
PRODUCTS = {"mobile": 60, "broadband": 35, "leased_line": 5}

SUBJECTS = {
    "top_up/unionpay_not_credited": 5,
    "top_up/card_rejected": 4,
    "bill/unknown_charge": 9,
    "bill/too_high": 8,
    "tariff/changed_without_consent": 5,
    "promotion/gift_not_received": 4,
    "promotion/terms_unclear": 4,
    "broadband/slow": 7,
    "broadband/no_connection": 6,
    "broadband/installation_late": 5,
    "mobile/no_signal": 4,
    "sms/unwanted_service": 3,
    "business_hall/long_queue": 3,
    "hotline/not_reached": 3,
}
"""Topic paths of complaints and how many a mean day brings."""

_HOUR = (3, 2, 1.5, 1, 1, 2, 5, 10, 18, 27, 30, 26, 18, 17, 24, 28, 26, 21, 17, 18, 20, 16, 10, 5)
_WEEKDAY = (1.1, 1.05, 1.0, 1.0, 1.05, 0.95, 0.85)
_HOUR_MEAN = sum(_HOUR) / 24
_WEEK_MEAN = sum(_WEEKDAY) / 7


@dataclass(frozen=True)
class Customer:
    """Always the same for the same number."""

    id: str
    region: str
    customer_class: str
    product: str
    phone: str


def customer(number: int) -> Customer:
    """The customer of that number, 0 to CUSTOMERS - 1."""
    fate = Random(f"customer {number}")  # noqa: S311
    return Customer(
        id=f"C{number:07}",
        region=pick(fate, REGIONS),
        customer_class=pick(fate, CLASSES),
        product=pick(fate, PRODUCTS),
        phone=f"+86138{number:08}",
    )


def pick(fate: Random, weights: dict[str, int]) -> str:
    """One of the names, by weight."""
    return fate.choices(list(weights), list(weights.values()))[0]


def rhythm(local: datetime) -> float:
    """How busy this hour of the operator's local time is, compared with the mean hour of a week (1.0)."""
    return _HOUR[local.hour] / _HOUR_MEAN * _WEEKDAY[local.weekday()] / _WEEK_MEAN
