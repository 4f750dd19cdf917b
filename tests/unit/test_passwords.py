import pytest

from app.auth.own_words import own_words
from app.auth.passwords import check_new_password, hash_password, verify_password
from app.core.config import Settings, load_settings
from app.core.errors import BadRequest


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings({}).model_copy(update={"password_time_cost": 1, "password_memory_kib": 8})


async def test_only_the_right_password_matches_its_hash(settings: Settings) -> None:
    stored = await hash_password("correct horse battery", settings)
    assert await verify_password(stored, "correct horse battery", settings)
    assert not await verify_password(stored, "correct horse batterz", settings)


async def test_same_password_hashes_differently_each_time(settings: Settings) -> None:
    assert await hash_password("correct horse battery", settings) != await hash_password("correct horse battery", settings)


async def test_hash_names_argon2id_and_its_parameters(settings: Settings) -> None:
    assert (await hash_password("correct horse battery", settings)).startswith("$argon2id$v=19$m=8,t=1,p=1$")


def test_default_parameters_are_those_of_the_security_design() -> None:
    settings = load_settings({})
    assert (settings.password_memory_kib, settings.password_time_cost) == (19 * 1024, 2)


@pytest.mark.parametrize("password", ["correct horse battery", "", "\0", "\ud800", "x" * 100_000])
async def test_nobody_has_no_password(settings: Settings, password: str) -> None:
    assert not await verify_password(None, password, settings)


async def test_damaged_hash_matches_nothing(settings: Settings) -> None:
    assert not await verify_password("not a hash", "correct horse battery", settings)


async def test_accents_match_however_the_keyboard_composed_them(settings: Settings) -> None:
    stored = await hash_password("caf\u00e9 au lait chaud", settings)
    assert await verify_password(stored, "cafe\u0301 au lait chaud", settings)


@pytest.mark.parametrize(
    "password",
    ["holdfast-demo-password", "correct horse battery", "Vq7#rmLp", "лошадь-скрепка", "".join(f"{n:x}k" for n in range(400))[:1024]],
)
def test_good_password_is_accepted(password: str) -> None:
    check_new_password(password)


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("", "password_too_short"),
        ("Vq7#rmL", "password_too_short"),
        ("x" * 1025, "password_too_long"),
        ("é" * 513, "password_too_long"),
        ("a" * 20, "password_too_common"),
        ("password", "password_too_common"),
        ("P@ssw0rd1!", "password_too_common"),
        ("Summer2026!", "password_too_common"),
        ("qwertyuiop", "password_too_common"),
        ("12345678", "password_too_common"),
        ("1q2w3e4r", "password_too_common"),
        ("letmein123", "password_too_common"),
        ("adminadmin", "password_too_common"),
        ("hunter2hunter2", "password_too_common"),
        ("holdfast1", "password_too_common"),
        # However long
        ("password" * 8, "password_too_common"),
        ("passwordpassword2026!!!", "password_too_common"),
        ("P@ssw0rd" * 3, "password_too_common"),
        ("qwertyuiopasdfghjklzxcvbnm", "password_too_common"),
        ("1234567890123456", "password_too_common"),
        ("abcdefghijklmnopqrstuvwxyz", "password_too_common"),
        ("mnbvcxzlkjhgfdsapoiuytrewq", "password_too_common"),
        ("Sunshine1Sunshine1Sunshine1", "password_too_common"),
        ("Zx9Zx9Zx9Zx9Zx9Zx9", "password_too_common"),
        ("\uff30\uff21\uff33\uff33\uff37\uff2f\uff32\uff24\uff11\uff12\uff13\uff14\uff15\uff16\uff17", "password_too_common"),
    ],
)
def test_weak_password_is_refused_with_its_reason(password: str, code: str) -> None:
    with pytest.raises(BadRequest) as refused:
        check_new_password(password)
    assert refused.value.code == code


WORDS = own_words(email="jose.garcia-luna@acme-corp.example", name="Jos\u00e9 Garc\u00eda Luna", organisation="Acme Corporation")


@pytest.mark.parametrize(
    "password",
    [
        "josegarcialuna2026",
        "Garc\u00eda.Luna.1987!",
        "J0s3G4rc14Lun4!!",
        "acmecorporation1",
        "Acme-Corp-Password",
        "holdfast!holdfast?9",
        "jose@acme-corp",
        "AcmeHoldfast2026",
        "luna_luna_luna_17x",
    ],
)
def test_what_everybody_knows_of_a_person_is_no_password(password: str) -> None:
    with pytest.raises(BadRequest) as refused:
        check_new_password(password, WORDS)
    assert refused.value.code in ("password_personal", "password_too_common")


@pytest.mark.parametrize("password", ["correct horse battery", "lunar rover on acmeist verse", "Vq7#rmLp-jose", "planning tomatoes"])
def test_such_a_word_within_a_good_password_does_not_spoil_it(password: str) -> None:
    check_new_password(password, WORDS)


@pytest.mark.parametrize("new", ["correct horse battery 7", "Correct Horse Battery 7", "correct horse battery 8!", "Correct-Horse-Battery"])
def test_old_password_with_another_digit_is_not_new(new: str) -> None:
    with pytest.raises(BadRequest) as refused:
        check_new_password(new, current="correct horse battery 7")
    assert refused.value.code == "password_unchanged"


def test_another_password_is_new() -> None:
    check_new_password("wrong horse battery 7", current="correct horse battery 7")
