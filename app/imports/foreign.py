"""Recognises a file by its first bytes, and says what to do with one that cannot be imported."""

import zipfile
from typing import BinaryIO

from app.imports.unreadable import UnreadableFile

_AS_XLSX = "save it as an Excel workbook (.xlsx) or as CSV"
ZIP = b"PK\x03\x04"
_EMPTY_ZIP = b"PK\x05\x06"
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
# The streams of an encrypted workbook are named in UTF-16.
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
_SENTENCES = (
    (b"%PDF-", f"This is a PDF. Open the spreadsheet it was made from and {_AS_XLSX}."),
    (b"{\\rtf", f"This is a text document (RTF). Copy its table into a spreadsheet and {_AS_XLSX}."),
    (b"\x1f\x8b", "This is a compressed file (gzip). Unpack it, then upload what is in it."),
    (b"7z\xbc\xaf\x27\x1c", "This is a compressed file (7z). Unpack it, then upload what is in it."),
    (b"Rar!", "This is a compressed file (RAR). Unpack it, then upload what is in it."),
    (b"SQLite format 3\x00", f"This is a database, not a spreadsheet. Export the table and {_AS_XLSX}."),
    (b"\x89PNG", "This is a picture. Upload the spreadsheet itself, as .xlsx or as CSV."),
    (b"\xff\xd8\xff", "This is a picture. Upload the spreadsheet itself, as .xlsx or as CSV."),
)
_HTML = (b"<html", b"<!doctype html", b"<table", b"<head", b"<meta")


def is_zip(stream: BinaryIO) -> bool:
    stream.seek(0)
    return stream.read(4) in (ZIP, _EMPTY_ZIP)


def refuse_foreign(stream: BinaryIO) -> None:
    """Raises `UnreadableFile` for what is neither text nor a workbook that can be read, in words that say what to do."""
    stream.seek(0)
    head = stream.read(4096)
    for beginning, sentence in _SENTENCES:
        if head.startswith(beginning):
            raise UnreadableFile(sentence)
    if head.startswith(_OLE):
        raise UnreadableFile(_about_ole(stream))
    if head.startswith((ZIP, _EMPTY_ZIP)):
        raise UnreadableFile(_about_zip(stream))
    start = head.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if start.startswith(_HTML):
        raise UnreadableFile(f"This is a web page, whatever its name ends in. Open it in your spreadsheet program and {_AS_XLSX}.")
    if start.startswith(b"<?xml"):
        raise UnreadableFile(f"This is an XML file. Open it in your spreadsheet program and {_AS_XLSX}.")


def about_other_zip(names: frozenset[str], mimetype: bytes) -> str:
    """What a ZIP file other than an Excel workbook is, and what to do with it."""
    if mimetype.startswith(b"application/vnd.oasis.opendocument.spreadsheet"):
        return f"This is an OpenDocument spreadsheet (.ods). Open it in LibreOffice or Excel and {_AS_XLSX}."
    if mimetype.startswith(b"application/vnd.oasis.opendocument"):
        return f"This is an OpenDocument file, but no spreadsheet. Copy its table into a spreadsheet and {_AS_XLSX}."
    if "Index/Document.iwa" in names or "Index.zip" in names or any(name.startswith("Index/Tables/") for name in names):
        return "This is a Numbers spreadsheet. In Numbers choose File, Export To, Excel (.xlsx) or CSV, and upload that."
    if "xl/workbook.bin" in names:
        return f"This is a binary Excel workbook (.xlsb). Open it in Excel and {_AS_XLSX}."
    if any(name.startswith("word/") for name in names):
        return f"This is a Word document. Copy its table into a spreadsheet and {_AS_XLSX}."
    if any(name.startswith("ppt/") for name in names):
        return f"This is a PowerPoint presentation. Copy its table into a spreadsheet and {_AS_XLSX}."
    return f"This is not a text file and no workbook, but a ZIP archive. If a spreadsheet is in it, unpack it; else {_AS_XLSX}."


def _about_ole(stream: BinaryIO) -> str:
    stream.seek(0)
    if _ENCRYPTED in stream.read(1 << 20):
        return "This workbook is protected by a password. Open it in Excel, remove the password (File, Info) and save it again."
    return f"This is an old Excel workbook (.xls). Open it in Excel or LibreOffice and {_AS_XLSX}."


def _about_zip(stream: BinaryIO) -> str:
    stream.seek(0)
    try:
        with zipfile.ZipFile(stream) as archive:
            names = frozenset(archive.namelist()[:10_000])
            mimetype = archive.read("mimetype")[:100] if "mimetype" in names and archive.getinfo("mimetype").file_size < 200 else b""
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, ValueError, EOFError):
        return f"This is not a text file but a damaged archive or workbook. Open it in your spreadsheet program and {_AS_XLSX}."
    return about_other_zip(names, mimetype)
