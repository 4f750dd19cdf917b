"""The value of a workbook's cell as unambiguous text, as a text file would have it."""

import re
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

MAX_CELL = 32_767
# What a number's format shows beside it: the value alone would be taken for dollars.
_CURRENCIES = {"€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR", "zł": "PLN", "R$": "BRL"}
_CURRENCIES |= {code: code for code in ["EUR", "CHF", "GBP", "JPY", "CNY", "INR", "CAD", "AUD", "SEK", "NOK", "DKK", "PLN", "BRL"]}
_PADDED = re.compile(r"0{2,40}")


def tells_more(number_format: str) -> bool:
    """Whether the number format adds information to the value."""
    return bool(_PADDED.fullmatch(number_format)) or any(sign in number_format for sign in _CURRENCIES)


def text_of(value: Any, number_format: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value[:MAX_CELL]
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | float):
        return _number(value, number_format)
    return _moment(value)


def _moment(value: datetime | date | time | timedelta) -> str:
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(" ", "seconds")
    return value.isoformat() if isinstance(value, date | time) else str(value)


def _number(value: float, number_format: str) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 10**15:
        value = int(value)
    if isinstance(value, int):
        shown = _PADDED.fullmatch(number_format)
        text = str(value).zfill(len(shown[0])) if shown and value >= 0 else str(value)
    else:
        text = format(Decimal(repr(value)), "f")
        # Three decimals could be taken for thousands.
        if re.search(r"\.[0-9]{3}$", text):
            text += "0"
    currency = next((code for sign, code in _CURRENCIES.items() if sign in number_format), "")
    return f"{text} {currency}" if currency else text
