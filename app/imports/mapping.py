"""Finds the fact of a deal that each column of a file holds, by its heading."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.errors import BadRequest
from app.normalisation import normal_form

IGNORE = "ignore"
# Longer than any heading somebody made a synonym of.
LONGEST_KNOWN = 200

# Facts are columns of `deals`. Compared without case and punctuation; the name of the fact itself counts too.
SYNONYMS: dict[str, str] = {
    "name": "target, target name, target company, company, company name, acquired company, acquired, acquiree, deal, deal name, "
    "project, project name",
    "acquirer": "acquirer name, acquiring company, buyer, buyer name, purchaser, bidder, acquired by, parent company",
    "external_ref": "acquisitions id, acquisition id, deal id, id, reference, ref, external id, external reference, deal reference",
    "announced_on": "deal announced on, announced, announced date, announcement date, date announced, date, deal date, "
    "acquired on, acquisition date",
    "announced_year": "year, year of acquisition announcement, announcement year, deal year, year announced, acquisition year",
    "price_usd": "price, value, value usd, deal value, deal value usd, price usd, amount, amount usd, purchase price, deal size, "
    "consideration, transaction value",
    "status": "deal status, state of deal",
    "terms": "deal terms, payment, payment type, payment terms",
    "tagline": "description, short description, summary, about",
    "categories": "market categories, category, markets, market, industry, industries, sector, sectors",
    "founded_year": "year founded, founded, founding year, founded in",
    "city": "city hq, hq city, headquarters city",
    "region": "state region hq, state, state region, province, hq state, hq region",
    "country": "country hq, hq country, headquarters country",
    "homepage": "website, web site, url, company url, homepage url, domain",
    "profile_url": "acquisition profile, profile, profile link, crunchbase url",
    "news_title": "news, headline, news headline",
    "news_url": "news link, link, source, source url, article",
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


class BadMapping(BadRequest):
    code, title = "bad_mapping", "The columns cannot be matched"


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """Which column holds which fact, and the headings nobody could place."""

    columns: dict[str, int]
    headings: tuple[str, ...]
    ignored: tuple[str, ...]

    def heading(self, fact: str) -> str:
        return self.headings[self.columns[fact]]


def map_columns(headings: Sequence[str], overrides: Mapping[str, str] | None = None) -> ColumnMap:
    """Place every heading. `overrides` (heading → fact, or "ignore") win over synonyms; raises `BadMapping`."""
    chosen = _read_overrides(headings, overrides or {})
    placed: dict[str, list[int]] = {}
    ignored: list[str] = []
    for index, heading in enumerate(headings):
        fact = chosen.get(normalise(heading)) or _BY_SYNONYM.get(normalise(heading))
        by_hand = normalise(heading) in chosen
        if fact == IGNORE or not heading:
            continue
        if fact is None or (not by_hand and fact in chosen.values()):
            ignored.append(heading)
            continue
        placed.setdefault(fact, []).append(index)
    _check(headings, placed)
    return ColumnMap({fact: indexes[0] for fact, indexes in placed.items()}, tuple(headings), tuple(ignored))


def guess_fields(headings: Sequence[str]) -> list[str]:
    """The fact each column seems to hold, "" where nobody can say. Of two that seem to hold the same, the first does."""
    fields: list[str] = []
    for heading in headings:
        fact = _BY_SYNONYM.get(normalise(heading), "")
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
    ignored = tuple(heading for heading, field in zip(headings, fields, strict=True) if heading and not field)
    return ColumnMap(placed, tuple(headings), ignored)


def normalise(heading: str) -> str:
    try:
        folded = normal_form("NFKC", heading[:LONGEST_KNOWN]).casefold()
    except ValueError:
        return ""  # no heading anybody knows
    return re.sub(r"[\W_]+", " ", folded).strip()


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


_BY_SYNONYM = {normalise(word): fact for fact, words in SYNONYMS.items() for word in (fact, *words.split(","))}
