import pytest

from app.http.security_headers import return_to


@pytest.mark.parametrize(
    "path", ["/", "/deals", "/deals?q=a%20b&sort=name#top", "/deals/7/overview", "/deals?q=é", "/loginless", "/a//b", "/?next=//e"]
)
def test_own_path_is_returned_to(path: str) -> None:
    assert return_to(path) == path


@pytest.mark.parametrize(
    "address",
    [
        None,
        "",
        "deals",
        "//e",
        "///e",
        "/\\e",
        "\\\\e",
        "/\\/e",
        "/\t/e",
        "\t//e",
        "/\n/e",
        " //e",
        "https:e",
        "https://e",
        "HTTPS://e",
        "javascript:alert(1)",
        "data:text/html,x",
        "/deals\r\nSet-Cookie: a=b",
        "/\0",
        "/\x7f/e",
        "/\u202edeals",
        "/\ud800",
        "?next=/",
        "#x",
        "/../other",
        "/deals/..%2f../other",
        "/%2e%2e/other",
        "/a/%2E.",
        "/..",
        "/" + "a" * 5000,
    ],
)
def test_anything_but_an_own_path_leads_to_the_start_page(address: str | None) -> None:
    assert return_to(address) == "/"


@pytest.mark.parametrize("path", ["/login", "/login/", "/login?next=/deals", "/logout"])
def test_nobody_is_sent_round_in_a_circle(path: str) -> None:
    assert return_to(path) == "/"
