"""What recovery reads, on one screen."""

from typing import Final

from closedloop.common.consumer.rows import RowProcessor, Subscription
from closedloop.common.events.model import ComplaintClosed, EvaluationSubmitted
from closedloop.recovery.intake import Intake

SUBSCRIPTION: Final = Subscription((EvaluationSubmitted, ComplaintClosed))


def processor(intake: Intake) -> RowProcessor:
    """Batches of these events into the queue."""
    return RowProcessor(SUBSCRIPTION, intake.take, intake.committed)
