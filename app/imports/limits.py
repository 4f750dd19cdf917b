"""How much a file to import may hold."""

from app.core.errors import PayloadTooLarge

# What an import must remember of each row, so that a second row of one deal is found, stays within some fifty megabytes.
MAX_LINES = 500_000
# Each takes its time to be placed.
MAX_COLUMNS = 2_000
# A sheet unpacks to more than the workbook it came in.
MAX_SHEET_SIZE = 256 * 1024 * 1024


def too_many_lines() -> PayloadTooLarge:
    return PayloadTooLarge(f"A file to import may have {MAX_LINES:,} lines. Split it, or ask an operator to use the command line.")


def too_many_columns() -> PayloadTooLarge:
    return PayloadTooLarge(f"A list of deals may have {MAX_COLUMNS:,} columns. Delete those that are not needed, and upload it again.")


def too_large_a_sheet() -> PayloadTooLarge:
    return PayloadTooLarge("The sheet holds more text than a list of deals can. Split it, or delete the columns that are not needed.")
