"""Finds the fact of a deal that each column of a file holds, by its heading."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from app.core.errors import BadRequest
from app.core.invisible_characters import strip_invisible
from app.core.unicode_forms import normal_form
from app.imports.conventions import Reading

IGNORE = "ignore"
# Longer than any heading somebody made a synonym of.
MAX_KNOWN = 200

# Facts are columns of `deals`. Compared without case and punctuation; the name of the fact itself counts too.
SYNONYMS: dict[str, str] = {
    "name": "target, target name, target company, company, company name, acquired company, acquired, acquiree, deal, deal name, "
    "project, project name, zielunternehmen, zielgesellschaft, ziel, firma, unternehmen, name des unternehmens, übernommenes unternehmen, "
    "projekt, cible, société, société cible, entreprise, entreprise cible, nom de la société, projet, nom, empresa, empresa objetivo, "
    "empresa adquirida, objetivo, compañía, nombre, proyecto",
    "acquirer": "acquirer name, acquiring company, buyer, buyer name, purchaser, bidder, acquired by, parent company, käufer, kaeufer, "
    "erwerber, übernehmer, käuferin, bieter, acquéreur, acheteur, repreneur, société acquéreuse, comprador, adquirente, adquiriente, "
    "empresa compradora",
    "external_ref": "acquisitions id, acquisition id, deal id, id, reference, ref, external id, external reference, deal reference, "
    "referenz, kennung, nummer, aktenzeichen, identifiant, numéro, referencia, identificador",
    "announced_on": "deal announced on, announced, announced date, announcement date, date announced, date, deal date, "
    "acquired on, acquisition date, datum, angekündigt, angekündigt am, ankündigungsdatum, bekannt gegeben am, date d'annonce, "
    "annoncé le, date de l'annonce, date d'acquisition, fecha, fecha de anuncio, fecha del anuncio, anunciado, anunciado el",
    "announced_year": "year, year of acquisition announcement, announcement year, deal year, year announced, acquisition year, "
    "jahr, ankündigungsjahr, année, année d'annonce, année de l'annonce, año, año de anuncio, año del anuncio",
    "price_usd": "price, value, value usd, deal value, deal value usd, price usd, price in us dollars, amount, amount usd, "
    "purchase price, deal size, consideration, transaction value, preis, preis usd, kaufpreis, kaufpreis usd, wert, betrag, betrag usd, "
    "transaktionswert, prix, prix usd, prix d'achat, montant, montant usd, valeur, precio, precio usd, precio de compra, importe, "
    "importe usd, valor, valor usd",
    "status": "deal status, state of deal, zustand, stand, statut, état, estado",
    "terms": "deal terms, payment, payment type, payment terms, bedingungen, konditionen, zahlungsart, conditions, modalités, "
    "condiciones, términos, forma de pago",
    "tagline": "description, short description, summary, about, beschreibung, kurzbeschreibung, résumé, descripción, resumen",
    "categories": "market categories, category, markets, market, industry, industries, sector, sectors, branche, branchen, kategorie, "
    "kategorien, sektor, secteur, secteurs, catégorie, industrie, sectores, categoría, categorías, industria",
    "founded_year": "year founded, founded, founding year, founded in, gründungsjahr, gegründet, année de création, fondée en, "
    "année de fondation, año de fundación, fundada en, fundación",
    "city": "city hq, hq city, headquarters city, stadt, ort, sitz, ville, siège, ciudad, sede",
    "region": "state region hq, state, state region, province, hq state, hq region, state or region, bundesland, kanton, "
    "département, canton, provincia",
    "country": "country hq, hq country, headquarters country, land, pays, país",
    "homepage": "website, web site, url, company url, homepage url, domain, webseite, internetseite, site web, site internet, "
    "página web, sitio web, web",
    "profile_url": "acquisition profile, profile, profile link, profile address, crunchbase url, profil, perfil",
    "news_title": "news, headline, news headline, schlagzeile, meldung, actualité, titre de l'actualité, noticia, titular",
    "news_url": "news link, link, source, source url, article, news address, quelle, lien, fuente, enlace",
}

# What the facts are called on a page.
LABELS = {
    "name": "Target (deal name)",
    "acquirer": "Acquirer",
    "external_ref": "Reference",
    "announced_on": "Announced on",
    "announced_year": "Year announced",
    "price_usd": "Price in US dollars",
    "status": "Status",
    "terms": "Terms",
    "tagline": "Description",
    "categories": "Categories",
    "founded_year": "Year founded",
    "city": "City",
    "region": "State or region",
    "country": "Country",
    "homepage": "Homepage",
    "profile_url": "Profile address",
    "news_title": "Headline",
    "news_url": "News address",
}


# What a download of refused rows, and one of the list of deals, has for headings: both can be imported again.
REPORT_HEADINGS = ("Line", "Problem")
LIST_HEADINGS = (*LABELS.values(), "Stage", "Owner", "Archived", "Last changed (UTC)")


class BadMapping(BadRequest):
    code, title = "bad_mapping", "The columns cannot be matched"


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """Which column holds which fact, and the headings that match none."""

    columns: dict[str, int]
    headings: tuple[str, ...]
    ignored: tuple[str, ...]
    # By column; others have a default reading.
    readings: tuple[Reading, ...] = ()
    # A list that Holdfast itself wrote may hold deals without an acquirer.
    is_own_list: bool = False

    def heading(self, fact: str) -> str:
        return self.headings[self.columns[fact]]

    def reading(self, index: int) -> Reading:
        return self.readings[index] if index < len(self.readings) else Reading()

    def read_as(self, readings: Iterable[Reading]) -> "ColumnMap":
        return replace(self, readings=tuple(readings))


def map_columns(headings: Sequence[str], overrides: Mapping[str, str] | None = None) -> ColumnMap:
    """Place every heading. `overrides` (heading → fact, or "ignore") win over synonyms; raises `BadMapping`."""
    chosen = _read_overrides(headings, overrides or {})
    placed: dict[str, list[int]] = {}
    ignored: list[str] = []
    for index, heading in enumerate(headings):
        fact = chosen.get(normalise(heading)) or _BY_SYNONYM.get(normalise(heading))
        by_hand = normalise(heading) in chosen
        if fact == IGNORE or not heading or (index < report_columns(headings) and not by_hand):
            continue
        if fact is None or (not by_hand and fact in chosen.values()):
            ignored.append(heading)
            continue
        placed.setdefault(fact, []).append(index)
    _check(headings, placed)
    columns = {fact: indexes[0] for fact, indexes in placed.items()}
    return ColumnMap(columns, tuple(headings), tuple(ignored), is_own_list=_is_own_list(headings))


def guess_fields(headings: Sequence[str]) -> list[str]:
    """The fact each column seems to hold, "" where nobody can say. Of two that seem to hold the same, the first does."""
    fields: list[str] = []
    for index, heading in enumerate(headings):
        fact = "" if index < report_columns(headings) else _BY_SYNONYM.get(normalise(heading), "")
        fields.append("" if fact in fields else fact)
    return fields


def map_by_position(headings: Sequence[str], fields: Sequence[str]) -> ColumnMap:
    """The columns as somebody placed them one by one, "" for one to be ignored. Raises `BadMapping`, in their words."""
    if len(fields) != len(headings) or any(field and field not in SYNONYMS for field in fields):
        raise BadMapping("Say for each column which field it holds, or none.")
    placed: dict[str, int] = {}
    for index, field in enumerate(fields):
        if field in placed:
            raise BadMapping(f'"{headings[placed[field]]}" and "{headings[index]}" cannot both be the {LABELS[field].lower()}.')
        if field:
            placed[field] = index
    if "name" not in placed:
        raise BadMapping("Say which column holds the name of the target: without one no row can become a deal.")
    own = report_columns(headings)
    ignored = tuple(heading for heading, field in list(zip(headings, fields, strict=True))[own:] if heading and not field)
    return ColumnMap(placed, tuple(headings), ignored, is_own_list=_is_own_list(headings))


def recognise(headings: Iterable[str]) -> set[str]:
    """The facts that a line of headings seems to name."""
    return {_BY_SYNONYM[word] for word in map(normalise, headings) if word in _BY_SYNONYM}


def report_columns(headings: Sequence[str]) -> int:
    """How many columns at the front are those a download of refused rows has before the file's own."""
    return len(REPORT_HEADINGS) if tuple(headings[: len(REPORT_HEADINGS)]) == REPORT_HEADINGS else 0


def normalise(heading: str) -> str:
    """Without case, punctuation, accents and what cannot be seen."""
    try:
        decomposed = normal_form("NFKD", strip_invisible(heading[:MAX_KNOWN]).casefold())
    except ValueError:
        return ""  # no heading anybody knows
    return re.sub(r"[\W_]+", " ", "".join(letter for letter in decomposed if not unicodedata.combining(letter))).strip()


def _is_own_list(headings: Sequence[str]) -> bool:
    return tuple(headings) == LIST_HEADINGS


def parse_override(text: str) -> tuple[str, str]:
    """Split "Heading=fact"; the heading may itself hold an equals sign."""
    heading, equals, fact = text.rpartition("=")
    if not equals or not heading.strip() or not fact.strip():
        raise BadMapping(f'"{text}" does not read "Heading=field".')
    return heading.strip(), fact.strip()


def _read_overrides(headings: Sequence[str], overrides: Mapping[str, str]) -> dict[str, str]:
    known = {normalise(heading) for heading in headings}
    chosen: dict[str, str] = {}
    for heading, wanted in overrides.items():
        if normalise(heading) not in known:
            raise BadMapping(f'There is no column "{heading}". {_there_are(headings)}')
        fact = IGNORE if normalise(wanted) == IGNORE else _BY_SYNONYM.get(normalise(wanted))
        if fact is None:
            raise BadMapping(f'There is no field "{wanted}". The fields are: {", ".join(SYNONYMS)}; or {IGNORE}.')
        chosen[normalise(heading)] = fact
    return chosen


def _check(headings: Sequence[str], placed: Mapping[str, list[int]]) -> None:
    for fact, indexes in placed.items():
        if len(indexes) > 1:
            names = " and ".join(f'"{headings[index]}"' for index in indexes)
            raise BadMapping(
                f'{names} both mean the field {fact}: choose one with --map "Heading={fact}", or drop one with "Heading={IGNORE}".'
            )
    if "name" not in placed:
        raise BadMapping(f'No column holds the name of the target: name it with --map "Heading=name". {_there_are(headings)}')


def _there_are(headings: Sequence[str]) -> str:
    return "The columns are: " + ", ".join(heading for heading in headings if heading) + "."


_BY_SYNONYM = {normalise(word): fact for fact, words in SYNONYMS.items() for word in (fact, LABELS[fact], *words.split(","))}
