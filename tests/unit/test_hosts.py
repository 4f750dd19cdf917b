import pytest

from app.core.hosts import HostRules, clean_host_rule, split_host


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("deals.example", ("deals.example", "")),
        ("Deals.EXAMPLE:8443", ("deals.example", "8443")),
        ("deals.example.", ("deals.example", "")),
        ("deals.example.:443", ("deals.example", "443")),
        ("[::1]", ("::1", "")),
        ("[0:0:0:0:0:0:0:1]:5001", ("::1", "5001")),
        ("[2001:DB8::7]:443", ("2001:db8::7", "443")),
        ("127.0.0.1:5001", ("127.0.0.1", "5001")),
        *((bad, ("", "")) for bad in ("", "a:", "::1", "a:b", "a:70000", "a/b", "a@b", "a b", "[::1", "::1]", "[x]", "a:1:2", "a\nb")),
    ],
)
def test_a_host_header(header: str, wanted: tuple[str, str]) -> None:
    assert split_host(header) == wanted


@pytest.mark.parametrize(
    ("rule", "header", "allowed"),
    [
        ("deals.example", "deals.example", True),
        ("deals.example", "DEALS.example.:8443", True),
        ("DEALS.example.", "deals.example", True),
        ("deals.example", "www.deals.example", False),
        ("deals.example", "deals.example.evil", False),
        (".deals.example", "deals.example", True),
        (".deals.example", "a.b.Deals.Example.:1", True),
        (".deals.example", "xdeals.example", False),
        (".deals.example", "deals.example.evil.example", False),
        (".deals.example", ".deals.example", True),  # as Django has it; no such name exists
        ("[::1]", "[::1]:5001", True),
        ("0:0:0:0:0:0:0:1", "[::1]", True),
        ("::1", "[::2]", False),
        ("10.0.0.7", "10.0.0.7:80", True),
        ("*", "anything", True),
        ("*", "", True),
        ("deals.example", "", False),
    ],
)
def test_which_names_are_allowed(rule: str, header: str, allowed: bool) -> None:
    assert HostRules([clean_host_rule(rule)]).allow(header) is allowed


@pytest.mark.parametrize(
    "rule",
    ["https://deals.example", "deals.example:8443", "deals.example/", "*.deals.example", "..deals.example", "a..b", ".", "[x::y]", "a b"],
)
def test_what_is_no_name_is_refused(rule: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        clean_host_rule(rule)
