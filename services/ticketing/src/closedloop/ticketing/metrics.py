"""Every metric of this service. Labels are bounded; no ids, no subjects."""

from prometheus_client import Counter, Gauge

OPEN_TICKETS = Gauge("ticketing_open_tickets", "Open tickets", ["stage"])
OVERDUE_MEASURES = Gauge(
    "ticketing_overdue_measures", "Measures of open tickets whose due date is past and that are not carried out"
)
FIRINGS = Counter("ticketing_firings", "Firings of triggers", ["trigger"])
TICKETS_OPENED = Counter("ticketing_tickets_opened", "Tickets opened", ["trigger"])
STATEMENT_LAG = Gauge("ticketing_statement_lag_seconds", "Clock less the event time up to which statements are made")
SUBJECTS = Gauge("ticketing_subjects", "Subjects whose complaints are counted")
UNTRACKED = Counter("ticketing_untracked_complaints", "Complaints on subjects beyond the greatest number of subjects; not counted")
DUPLICATES = Counter("ticketing_duplicates", "Events that had been taken before", ["content"])
