"""JSON logs on stdout, with everything that looks like a phone number masked last."""

import logging
import re
import sys
from typing import Any, Final

import structlog

_PHONE: Final = re.compile(r"(?<![\w-])(?<!\d\.)\+?\d{1,3}[ -]?\(?\d{2,4}\)?(?:[ -]?\d{3,4}){2,3}(?![\w-]|\.\d)|\+\d{7,15}")
_NUMBERS_THAT_ARE_NOT_PHONES: Final = frozenset({"timestamp", "offset", "pid", "port"})


def mask_phones(text: str) -> str:
    """The text with each phone number reduced to its last two digits."""
    return _PHONE.sub(lambda match: "***" + match[0][-2:], text)


def _redact(_: Any, __: str, event: Any) -> Any:
    return {key: value if key in _NUMBERS_THAT_ARE_NOT_PHONES else _masked(key, value) for key, value in event.items()}


def _masked(key: Any, value: Any) -> Any:
    if isinstance(value, str):
        return mask_phones(value)
    if isinstance(value, dict):
        return {k: _masked(k, v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked(key, item) for item in value]
    return "***" if "phone" in str(key) and value is not None else value


def configure_logging(service: str, level: str = "INFO") -> None:
    """One JSON object a line: structlog's and the standard library's loggers alike."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _redact,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    structlog.contextvars.bind_contextvars(service=service)
    # aiokafka repeats itself during an outage; our own loop says what matters
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
