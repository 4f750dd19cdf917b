"""The cells of a workbook as text, row by row. Calamine reads them, many times faster than openpyxl; openpyxl reads what goes with
them (sheets, formats), and the cells of a sheet that reaches so far that Calamine, which holds it whole, would need too much memory."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from openpyxl.reader.excel import ExcelReader
from openpyxl.styles.numbers import BUILTIN_FORMATS
from openpyxl.styles.stylesheet import apply_stylesheet
from openpyxl.utils.datetime import CALENDAR_MAC_1904
from openpyxl.worksheet._read_only import ReadOnlyWorksheet
from python_calamine import CalamineSheet, CalamineWorkbook

from app.imports.cell_text import tells_more, text_of
from app.imports.sheet_scan import LAST_ROW, Scan, scan_sheet
from app.imports.unreadable import UnreadableFile

# More columns than this have no meaning, but cost memory for each row.
MAX_COLUMNS = 500
# What the memory of the survey has room for, some sixty bytes each.
MAX_CELLS = 8_000_000
TOO_MUCH = "This workbook unpacks to more than a list of deals can be. Save the sheet with the deals as CSV and upload that."


class TooManyCells(UnreadableFile):
    """A sheet of more cells than can be held at once."""


@dataclass(slots=True)
class _LoadedSheet:
    name: str
    sheet: CalamineSheet


@dataclass(slots=True)
class Cells:
    """Raises whatever a hostile or broken file makes its readers raise."""

    stream: BinaryIO
    is_1904: bool = False
    _reader: Any = None
    _book: CalamineWorkbook | None = None
    _paths: dict[str, tuple[str, bool]] = field(default_factory=dict)
    _formats: dict[int, str] = field(default_factory=dict)
    _scans: dict[str, Scan] = field(default_factory=dict)
    _loaded: _LoadedSheet | None = None

    def __post_init__(self) -> None:
        self.stream.seek(0)
        self._reader = reader = ExcelReader(self.stream, read_only=True, data_only=True, keep_links=False)
        reader.read_manifest()
        reader.read_workbook()
        apply_stylesheet(reader.archive, reader.wb)
        self.is_1904 = reader.wb.epoch == CALENDAR_MAC_1904
        for sheet, relation in reader.parser.find_sheets():
            # Sheets of charts and of dialogs have no cells.
            if relation.target in reader.valid_files and relation.Type.endswith("/worksheet"):
                self._paths[sheet.name] = relation.target, sheet.state != "visible"
        for style, each in enumerate(reader.wb._cell_styles):
            if tells_more(shown := _format_of(reader.wb, each.numFmtId)):
                self._formats[style] = shown

    def sheets(self) -> Iterator[tuple[str, bool]]:
        """Their names, and whether they are hidden."""
        for name, (_, is_hidden) in self._paths.items():
            yield name, is_hidden

    def scan(self, name: str) -> Scan:
        if name not in self._scans:
            with self._reader.archive.open(self._paths[name][0]) as part:
                self._scans[name] = scan_sheet(part, self._formats)
        return self._scans[name]

    def rows(self, name: str) -> Iterator[list[str]]:
        """From the first row of the sheet on, none left out. Raises `TooManyCells`."""
        scan = self.scan(name)
        if scan.filled > MAX_CELLS:
            raise TooManyCells(TOO_MUCH)
        far = scan.has_misplaced or scan.rows > LAST_ROW or scan.rows * scan.columns > MAX_CELLS
        if far or (scan.has_unplaced and (scan.rows or self._formats)):
            return self._row_by_row(name)
        return self._at_once(name, scan)

    def _at_once(self, name: str, scan: Scan) -> Iterator[list[str]]:
        if self._loaded is None or self._loaded.name != name:
            # Never two of them.
            self._loaded = None
            if self._book is None:
                self.stream.seek(0)
                self._book = CalamineWorkbook.from_filelike(self.stream)
            self._loaded = _LoadedSheet(name, self._book.get_sheet_by_name(name))
        waiting = {column: list(reversed(changes)) for column, changes in scan.formats.items() if column < MAX_COLUMNS}
        shown: dict[int, str] = {}
        for number, row in enumerate(self._loaded.sheet.iter_rows(), start=1):
            for column, changes in waiting.items():
                while changes and changes[-1][0] <= number:
                    shown[column] = changes.pop()[1]
            yield [value if type(value) is str else text_of(value, shown.get(column, "")) for column, value in enumerate(row[:MAX_COLUMNS])]

    def _row_by_row(self, name: str) -> Iterator[list[str]]:
        if not self._reader.shared_strings:
            self._reader.read_strings()
        sheet = ReadOnlyWorksheet(self._reader.wb, name, self._paths[name][0], self._reader.shared_strings)
        # What a file says of its own size is a claim, as often A1:XFD1048576.
        sheet.reset_dimensions()
        for row in sheet.iter_rows(max_row=LAST_ROW, max_col=None):
            yield ["" if cell.data_type == "e" else text_of(cell.value, cell.number_format or "") for cell in row[:MAX_COLUMNS]]


def _format_of(book: Any, number: int) -> str:
    if number < 164:
        return str(BUILTIN_FORMATS.get(number, ""))
    custom = book._number_formats
    return str(custom[number - 164]) if number - 164 < len(custom) else ""
