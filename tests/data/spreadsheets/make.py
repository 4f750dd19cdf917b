"""Makes the spreadsheets beside this file with LibreOffice and openpyxl, as people in several countries would save them.

For developers, not for the tests, which read what is committed: `python tests/data/spreadsheets/make.py` (needs `soffice`).
"""

import subprocess
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

import openpyxl
from openpyxl.utils.datetime import CALENDAR_MAC_1904

HERE = Path(__file__).parent
UTF_8, CP1252, UTF_16 = 76, 1, 65535

DEALS = [
    ("Zoë Labs", "Müller & Söhne", datetime(2014, 9, 15), 1_234_567.5, "São Paulo"),  # noqa: DTZ001
    ("Nest", "Google", datetime(2014, 3, 4), 3_200_000_000, "Palo Alto"),  # noqa: DTZ001
    ("Œuvre", "L'Oréal", datetime(2013, 12, 1), 1_234, "Paris"),  # noqa: DTZ001
]
HEADINGS = {
    "en-US": ("Target", "Buyer", "Announced", "Price", "City"),
    "de-DE": ("Zielunternehmen", "Käufer", "Datum", "Kaufpreis", "Stadt"),
    "fr-FR": ("Société cible", "Acquéreur", "Date d'annonce", "Prix", "Ville"),
    "es-ES": ("Empresa objetivo", "Comprador", "Fecha", "Precio", "Ciudad"),
    "de-CH": ("Firma", "Erwerber", "Angekündigt am", "Preis (USD)", "Ort"),
}
# Of the dates and of the prices, as a person there would have them shown.
FORMATS = {
    "en-US": ("m/d/yyyy", '"$"#,##0.00'),
    "de-DE": ("dd.mm.yyyy", "#,##0.00"),
    "fr-FR": ("[$-40C]d mmmm yyyy", '#,##0.00 "$"'),
    "es-ES": ("d/m/yy", "#,##0.00"),
    "de-CH": ("dd.mm.yy", "#,##0.00"),
}


def fill(sheet: Any, locale: str, *, first_row: int = 1) -> None:
    date_format, price_format = FORMATS[locale]
    for number, row in enumerate([HEADINGS[locale], *DEALS]):
        for column, value in enumerate(row, start=1):
            cell = sheet.cell(first_row + number, column, value)
            if number and column in (3, 4):
                cell.number_format = date_format if column == 3 else price_format


def book_of(locale: str) -> Any:
    book = openpyxl.Workbook()
    fill(book.active, locale)
    return book


def convert(source: Path, ending: str, locale: str, filter_: str = "", opened_as: str = "") -> Path:
    """What LibreOffice of that country makes of `source`."""
    with tempfile.TemporaryDirectory() as profile:
        user = Path(profile) / "user"
        user.mkdir()
        setting = (
            '<item oor:path="/org.openoffice.Setup/L10N"><prop oor:name="ooSetupSystemLocale" oor:op="fuse"><value>{}</value></prop></item>'
        )
        (user / "registrymodifications.xcu").write_text(
            '<?xml version="1.0" encoding="UTF-8"?><oor:items xmlns:oor="http://openoffice.org/2001/registry" '
            'xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
            + setting.format(locale)
            + "</oor:items>"
        )
        to = f"{ending}:{filter_}" if filter_ else ending
        command = [
            "soffice",
            f"-env:UserInstallation=file://{profile}",
            "--headless",
            *([f"--infilter={opened_as}"] if opened_as else []),
            "--convert-to",
            to,
            "--outdir",
            str(source.parent),
            str(source),
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=180)
    return source.with_suffix(f".{ending}")


def text(locale: str, name: str, separator: int, charset: int, work: Path) -> None:
    source = work / f"{name}.xlsx"
    book_of(locale).save(source)
    # Separator, quotes, charset, first line; then: quote no texts, cells as they are shown.
    filter_ = f"Text - txt - csv (StarCalc):{separator},34,{charset},1,,0,false,true"
    made = convert(source, "csv", locale, filter_)
    (HERE / f"{name}.csv").write_bytes(made.read_bytes())


def rows_left_out(work: Path) -> None:
    """As Holdfast has them downloaded, then opened, corrected and saved by somebody in Germany."""
    source = work / "rows.csv"
    why = '"""Target"" is empty: the target is missing"'
    source.write_text(
        "Line,Problem,Target,Buyer,Date,Price,Description,City,Website\r\n"
        f"3,{why},,'=Acme,2014-04-03,1234,'=1+1,Köln,b.example\r\n"
        f"4,{why},,'=Acme,2014-04-03,\"1.234.567,89\",'=2,0815,\r\n"
        f"5,{why},,'-Acme,2014-04-03,\"1,5\",'+49 89 123,1/2,\r\n"
        f'6,{why},,\'@Acme,1. März 2014,"12,5 Mio",TRUE,"a;b ""c""",\r\n'
        f"7,{why},,Zoë,31.02.2014,1500,2014-03-04,007,\r\n",
        "utf-8-sig",
        newline="",
    )
    opened = convert(source, "xlsx", "de-DE", opened_as=f"CSV:{ord(',')},34,{UTF_8},1,,0,false,false")
    book = openpyxl.load_workbook(opened)
    for number in range(1, 6):
        book.active.cell(number + 1, 3, f"T{number}")
    date = book.active.cell(6, 5, datetime(2014, 2, 28))  # noqa: DTZ001
    date.number_format = "DD.MM.YYYY"
    book.save(opened)
    saved = convert(opened, "csv", "de-DE", f"Text - txt - csv (StarCalc):{ord(';')},34,{CP1252},1,,0,false,true")
    (HERE / "rows-left-out-de.csv").write_bytes(saved.read_bytes())


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        text("en-US", "en-us", ord(","), UTF_8, work)
        text("de-DE", "de-de", ord(";"), CP1252, work)
        text("fr-FR", "fr-fr", ord(";"), UTF_8, work)
        text("es-ES", "es-es", ord(";"), CP1252, work)
        text("de-CH", "de-ch", ord(";"), UTF_8, work)
        text("en-US", "unicode-text", ord("\t"), UTF_16, work)
        rows_left_out(work)

        report = openpyxl.Workbook()
        report.active.title = "Notes"
        report.active["A1"] = "What the sheets are"
        sheet = report.create_sheet("Übernahmen")
        sheet["A1"] = "Our deals"
        sheet.merge_cells("A1:E1")
        fill(sheet, "de-DE", first_row=3)
        sheet["B5"] = sheet["B4"].value
        sheet.merge_cells("B4:B5")
        sheet.row_dimensions[6].hidden = True
        sheet["D6"] = "=D5*2"
        hidden = report.create_sheet("Lists")
        hidden["A1"] = "Target"
        hidden.sheet_state = "hidden"
        report.save(work / "report.xlsx")
        converted = convert(work / "report.xlsx", "ods", "de-DE")
        (HERE / "libreoffice.ods").write_bytes(converted.read_bytes())
        (work / "report.xlsx").unlink()
        (HERE / "libreoffice.xlsx").write_bytes(convert(converted, "xlsx", "de-DE").read_bytes())
        (HERE / "libreoffice.xls").write_bytes(convert(converted, "xls", "de-DE").read_bytes())

        mac = openpyxl.Workbook()
        mac.epoch = CALENDAR_MAC_1904
        fill(mac.active, "en-US")
        mac.active["A5"], mac.active["B5"], mac.active["C5"], mac.active["D5"] = "Serial", "Acme", 40435, "#N/A"
        mac.active["D5"].data_type = "e"
        mac.active["XFD1048576"].number_format = "0.00"
        mac.save(HERE / "openpyxl-1904.xlsx")

        mixed = openpyxl.Workbook()
        fill(mixed.active, "en-US")
        mixed.active["C2"], mixed.active["C3"], mixed.active["C4"] = "9/15/2014", "3/4/2014 10:30", "12/1/2013"
        mixed.active["D3"], mixed.active["D3"].number_format = 3_200_000_000, '#,##0 "€"'
        mixed.active["A5"], mixed.active["B5"], mixed.active["F5"] = "=1+1 Ltd", True, "a note beside the table"
        mixed.active["A5"].data_type = "s"
        mixed.active["D5"], mixed.active["D5"].number_format = 1234.567, "General"
        mixed.save(HERE / "openpyxl-text-dates.xlsx")


if __name__ == "__main__":
    main()
