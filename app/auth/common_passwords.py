"""Passwords that everybody tries first, whatever their length: a short list of words, and rules for what is built from them."""

import re
import unicodedata

# The words the published lists of leaked passwords (RockYou, SecLists, NCSC's top 100 000) keep coming back to. Digits and
# signs around them, the usual swaps of letters for digits and repetition are undone before looking here.
_WORD_LIST = """
    access account admin administrator adobe adrian alexander amanda america andrea andrew angel angela anthony apple apples
    arsenal asdf asdfgh asdfghjk asdfghjkl ashley austin baby babygirl badboy bailey banana barcelona baseball basketball
    batman beautiful benjamin bigdaddy blink blessed blood boomer brandon brittany brooklyn bubbles buster butterfly
    california cameron carlos carolina caroline charles charlie charlotte cheese chelsea chicago chicken chocolate chris
    christian christina christopher classic computer consult cookie corvette courtney cowboy cristina crystal dallas
    daniel daniela danielle david default demo destiny diamond diligence dolphin dragon eagles elephant elizabeth eminem emmanuel
    enter estrella everton excel explorer facebook falcon family fernando ferrari fireball firebird flower football forever
    freedom friend friends gabriel gabriela garfield gateway genesis george giants gangster google guest
    hannah harley hello heather helpme hockey holdfast holiday hunter iceman iloveyou internet jackson january february march
    april june july august september october november december jasmine jennifer jeremiah jessica johnny johnson jonathan
    jordan joseph joshua justin kimberly kitten killer knight ladybug lakers lauren legend letmein liberty liverpool
    london lovely loveme lovers madison maggie manchester marina marlboro master matrix matthew maverick melissa mercedes merlin
    michael michelle midnight mickey monday money monkey monster mother mountain mustang mynoob naruto natalie natasha newyork
    nicholas nicole nothing number office oliver orange paradise pass passw password passwort passphrase patricia patrick peaches
    peanut pepper phoenix playboy pokemon precious princess privet private purple qazwsx qwer qwert qwerty qwertyui qwertyuiop qwertz
    rainbow raiders ranger rebecca redsox remember richard robert rockstar rockyou ronaldo runescape sabrina samantha samsung
    samuel scooter scorpion secret secure security senha server shadow silver slipknot smokey snickers snoopy soccer sophie
    spider spiderman spring spongebob startrek starwars stephanie steelers success summer autumn winter sunday sunshine superman
    supersecret superstar support sweet sweetie sysadmin system teamo test testing testtest thomas thunder tiffany tigers tigger
    tinkerbell tomcat trustno truelove ultimate undertaker unknown user valentina vanessa veronica victor victoria viking
    vincent warcraft warrior welcome william willow wilson windows wizard wolverine wrestling yankees yellow zaqxsw zxcvbn
    zxcvbnm
"""
WORDS = frozenset(_WORD_LIST.split())
SWAPS = str.maketrans("0134578@$!", "oieastbasi")
_ROWS = (
    "01234567890",
    "09876543210",
    "abcdefghijklmnopqrstuvwxyz",
    "qwertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "1qaz2wsx3edc4rfv5tgb",
    "1q2w3e4r5t6y7u8i9o0p",
)
_ALL_ROWS = tuple(row[::step] * 2 for row in _ROWS for step in (1, -1))
MIN_ROW, MIN_UNIT = 3, 8
_NOT_LETTERS = re.compile(r"[\W\d_]+")


def is_common(password: str) -> bool:
    """For at most a kilobyte: the rules try every place to cut."""
    lowered = unicodedata.normalize("NFKC", password).casefold()
    if len(set(lowered)) < 5 or _is_made_of_rows(lowered):
        return True
    unit = lowered[: (lowered + lowered).find(lowered, 1)]
    if unit != lowered:
        # What is said twice is no harder to guess than what is said once.
        return len(unit) < MIN_UNIT or is_common(unit)
    swapped = lowered.translate(SWAPS)
    cores = {_core(lowered), _core(lowered).translate(SWAPS), _core(swapped), _NOT_LETTERS.sub("", lowered)}
    return any(_is_word_or_two(core) for core in cores)


def _is_made_of_rows(text: str) -> bool:
    """Rows of keys or of letters, forwards or backwards, one after the other; digits and signs between them do not help."""
    rest = text
    while rest:
        longest = max((_row_length(rest, row) for row in _ALL_ROWS), default=0)
        if longest < MIN_ROW:
            break
        rest = rest[longest:]
    return len(rest) < MIN_ROW and len(rest) < len(text) / 2


def _row_length(text: str, row: str) -> int:
    length = 0
    while length < len(text) and text[: length + 1] in row:
        length += 1
    return length


def _core(text: str) -> str:
    """Without the digits and signs before and after."""
    return re.sub(r"^[\W\d_]+|[\W\d_]+$", "", text)


def _is_word_or_two(text: str) -> bool:
    return text in WORDS or any(text[:cut] in WORDS and text[cut:] in WORDS for cut in range(1, len(text)))
