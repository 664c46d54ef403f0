"""P28 and FAULTS J: a URL means the same to everybody, or it is refused before anything is sent."""
# ruff: noqa: RUF001, SIM905 - characters that look like others are the point; a table of words reads best as text

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest
from hypothesis import given, strategies

from httpcore import URL, HTTPCoreError, InvalidURL, Origin, UnsupportedProtocol
from tests.support.cost import assert_cheaper, cpu_seconds
from tests.support.peer import Conn, ScriptedPeer
from tests.support.worlds import World

HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


# What is understood


@pytest.mark.parametrize(
    ("text", "scheme", "host", "port", "target"),
    [
        ("http://example.org", "http", "example.org", 80, b"/"),
        ("https://example.org", "https", "example.org", 443, b"/"),
        ("http://example.org/", "http", "example.org", 80, b"/"),
        ("http://example.org?a=b", "http", "example.org", 80, b"/?a=b"),
        ("http://example.org:8080/a/b?c=d&e", "http", "example.org", 8080, b"/a/b?c=d&e"),
        ("HTTPS://EXAMPLE.org/A", "https", "example.org", 443, b"/A"),
        ("http://example.org:80/", "http", "example.org", 80, b"/"),
        ("http://example.org:/", "http", "example.org", 80, b"/"),
        ("http://example.org:00080/", "http", "example.org", 80, b"/"),
        ("http://a_b.example/", "http", "a_b.example", 80, b"/"),
        ("http://example.org./", "http", "example.org.", 80, b"/"),
        ("http://192.0.2.1:81/", "http", "192.0.2.1", 81, b"/"),
        ("http://[2001:db8::1]/", "http", "2001:db8::1", 80, b"/"),
        ("http://[2001:DB8:0:0::1]:81/", "http", "2001:db8::1", 81, b"/"),
        ("http://[fe80::1%25eth0]/", "http", "fe80::1%eth0", 80, b"/"),
        ("http://x/a?b?c", "http", "x", 80, b"/a?b?c"),
        ("http://x/?", "http", "x", 80, b"/?"),
        ("http://x//a//b", "http", "x", 80, b"//a//b"),
        ("http://x/a/../b", "http", "x", 80, b"/a/../b"),
        ("http://x/a:b@c", "http", "x", 80, b"/a:b@c"),
    ],
)
def test_a_url_is_split_into_origin_and_target(text: str, scheme: str, host: str, port: int, target: bytes) -> None:
    for url in (URL(text), URL(text.encode())):
        assert (url.scheme, url.host, url.port, url.target) == (scheme, host, port, target)
        assert url.origin == Origin(scheme, host, port)


def test_an_ipv6_address_is_the_same_however_it_is_spelt() -> None:
    spellings = ["[::ffff:192.0.2.1]", "[::FFFF:c000:201]", "[0:0:0:0:0:ffff:c000:0201]"]
    assert len({URL(f"http://{spelling}/") for spelling in spellings}) == 1


def test_a_fragment_is_never_part_of_what_is_sent() -> None:
    assert URL("http://x/a#b?c").target == b"/a"
    assert URL("http://x#b").target == b"/"
    assert URL("http://x?a#b#c").target == b"/?a"


def test_characters_beyond_ascii_are_sent_as_percent_encoded_utf8() -> None:
    assert URL("http://x/ü?€=ü").target == b"/%C3%BC?%E2%82%AC=%C3%BC"


@pytest.mark.parametrize("path", ["/%zz", "/%", "/%00", "/a%2fb", "/%C3%28", "/%%%", "/[]{}|^`\"<>'\\"])
def test_j_percent_what_is_not_ours_to_judge_is_kept(path: str) -> None:
    assert URL(f"http://x{path}").target == path.encode()


@pytest.mark.parametrize(
    ("text", "authority", "address"),
    [
        ("http://example.org/", b"example.org", "example.org:80"),
        ("http://example.org:443/", b"example.org:443", "example.org:443"),
        ("https://example.org:443/", b"example.org", "example.org:443"),
        ("http://[::1]/", b"[::1]", "[::1]:80"),
        ("http://[::1]:8080/", b"[::1]:8080", "[::1]:8080"),
        # A zone means something on this machine only (RFC 6874, 3).
        ("http://[fe80::1%25eth0]:81/", b"[fe80::1]:81", "[fe80::1%eth0]:81"),
    ],
)
def test_the_authority_is_what_a_host_header_says(text: str, authority: bytes, address: str) -> None:
    origin = URL(text).origin
    assert origin.authority == authority
    assert origin.address == address
    assert str(origin) == f"{origin.scheme}://{address}"


def test_urls_are_values() -> None:
    url, same, other = URL("http://X:80"), URL("http://x/#f"), URL("http://x/a")
    assert url == same
    assert hash(url) == hash(same)
    assert url != other
    assert url != "http://x/"
    assert str(url) == "http://x/"
    assert repr(url) == "URL('http://x/')"
    assert URL(str(other)) == other
    assert pickle.loads(pickle.dumps(other.origin)) == other.origin


# j_url_ctl


@pytest.mark.parametrize(
    "url", ["{}http://x/", "ht{}tp://x/", "http://x{}y/", "http://x/a{}b", "http://x/?a{}", "http://x/{}"]
)
def test_j_url_ctl_a_control_character_or_blank_is_refused_not_stripped(url: str) -> None:
    for code in (*range(0x21), 0x7F):
        bad = url.format(chr(code))
        for text in (bad, bad.encode()):
            with pytest.raises(InvalidURL, match="percent-encode"):
                URL(text)


def test_bytes_beyond_ascii_are_refused() -> None:
    with pytest.raises(InvalidURL, match="offset 9"):
        URL("http://x/ü".encode())


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(InvalidURL, match="surrogate"):
        URL("http://x/\ud800")
    with pytest.raises(InvalidURL):
        URL("http://\ud800/")


# j_url_userinfo


@pytest.mark.parametrize(
    "authority",
    [
        "user:pw@host",
        "user@evil@host",
        "@host",
        ":@host",
        "user:p:w@host",
        "user:pw@@host",
        "a%40b:c@host",
        "host:80@host",
    ],
)
def test_j_url_userinfo_the_host_is_what_follows_the_last_at(authority: str) -> None:
    url = URL(f"http://{authority}/path")
    assert url.host == "host"
    assert str(url) == "http://host/path"


@pytest.mark.parametrize(
    "bad",
    [
        "http://user:hunter2@host:99999/",
        "http://user:hunter2@ho st/",
        "http://user:hunter2@/",
        "http://user:hunter2@a..b/",
        "http://user:hunter2@[::g]/",
        "http://user:hunter2@ü\u0378/",
        "http://user:hunter2@127.1/",
        "http:user:hunter2@host/",
        "ftp://user:hunter2@host/",
        "//user:hunter2@host/",
        "user:hunter2@host",
        # A password with a delimiter in it, which ends the authority early.
        "http://user:hunter2/3@host/",
        "http://user:hunter2#3@host/",
        "http://user:hunter2?3@host/",
        "http://host\\@hunter2@x/",
    ],
)
def test_i9_an_error_about_a_url_shows_no_password(bad: str) -> None:
    with pytest.raises((InvalidURL, UnsupportedProtocol)) as caught:
        URL(bad)
    chain: BaseException | None = caught.value
    while chain is not None:
        assert "hunter2" not in f"{chain} {chain!r}"
        chain = chain.__cause__


# j_url_slashes, j_url_scheme


@pytest.mark.parametrize(
    "url", ["http:////x", "http:///x", "http:/x", "http:x", "https:", "http://", "http://?a", "http://#", "http://:80/"]
)
def test_j_url_slashes_a_url_without_a_host_is_refused(url: str) -> None:
    with pytest.raises(InvalidURL):
        URL(url)


@pytest.mark.parametrize("url", ["", "/", "//x", "x", "example.org/path", "?a", "#a"])
def test_j_url_slashes_a_url_without_a_scheme_is_refused(url: str) -> None:
    with pytest.raises(UnsupportedProtocol, match="no scheme"):
        URL(url)


@pytest.mark.parametrize(
    "url",
    "ftp://x/ file:///etc/passwd javascript:alert(1) ://x httpx://x/ ws://x/ data:,x localhost:80 ℎttp://x/ http+unix://x/".split(),
)
def test_j_url_scheme_only_http_and_https_are_spoken(url: str) -> None:
    with pytest.raises(UnsupportedProtocol, match="http:// or https://"):
        URL(url)


@pytest.mark.parametrize("url", ["http://x\\y/", "http://x\\@y/", "http:\\\\x/"])
def test_a_backslash_in_the_authority_is_refused_because_browsers_read_it_as_a_slash(url: str) -> None:
    with pytest.raises(InvalidURL):
        URL(url)


# j_url_port


@pytest.mark.parametrize(
    "port", ["99999", "65536", "-1", "+80", "0", "00", "8o", "٨٠", "8 0", "80:80", "1e3", "0x50", "100000", "9" * 5000]
)
def test_j_url_port_what_is_not_a_port_is_refused(port: str) -> None:
    for host in ("x", "[::1]", "192.0.2.1"):
        with pytest.raises(InvalidURL):
            URL(f"http://{host}:{port}/")


# j_url_ipv4


@pytest.mark.parametrize(
    "host",
    """
    127.1 127.0.1 0x7f000001 0x7F.0.0.1 2130706433 017700000001 0177.0.0.1 1.2.3.4. 1.2.3.4.5 %31%32%37.0.0.1
    1.2.3.256 01.2.3.4 1.2.3.04 1.2.3.0x4 a.1 a.0x1 a.0x 1 0 127。0。0。1x.1 ٣.1.1.1 127.0.0.1%00 1.2.3 1.2.3.-4
    256.1.1.1 4294967297
    """.split(),
)
def test_j_url_ipv4_a_host_that_others_read_as_an_address_is_refused(host: str) -> None:
    with pytest.raises(InvalidURL):
        URL(f"http://{host}/")


def test_j_url_ipv4_a_host_in_full_width_digits_is_the_address_that_is_connected_to() -> None:
    """Where a host is canonicalised, that happens before anybody who is asked to judge it sees it."""
    assert URL("http://１２７.０.０.１/").host == "127.0.0.1"
    assert URL("http://127。0。0。1/").host == "127.0.0.1"


@pytest.mark.parametrize(
    "literal",
    [
        *"[] [::1 ::1 ::1] [::1]x [::1]] [[::1]] [1.2.3.4] [::g] [:::] [v1.x] [1::2::3] x[::1]".split(),
        *"[::1%eth0] [::1%25] [::1%25a/b] [::1%25%0d]".split(),
        "[::1%25a b]",
        "[" + "0:" * 20 + "1]",
    ],
)
def test_what_is_not_an_ipv6_address_is_refused(literal: str) -> None:
    with pytest.raises(InvalidURL):
        URL(f"http://{literal}/")


# j_url_idna


@pytest.mark.parametrize(
    ("host", "sent"),
    [
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        # IDNA 2008 keeps what IDNA 2003 changed: a name of its own (RFC 5894, 7.2).
        ("straße.example", "xn--strae-oqa.example"),
        ("ｅｘａｍｐｌｅ．org", "example.org"),
        ("bücher。example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("bücher.example.", "xn--bcher-kva.example."),
    ],
)
def test_j_url_idna_names_are_sent_as_a_labels(host: str, sent: str) -> None:
    url = URL(f"https://{host}/")
    assert url.host == sent
    assert url.origin.authority == sent.encode()


@pytest.mark.parametrize(
    "host",
    [
        *"℀.example xn--a.example xn--.example xn--abc-.example xn--a-ecp.ru a..b a.b.. .a . ..".split(),
        *"-a.example a-.example".split(),
        *"ü-.example -ü.example a,b a;b a!b a*b a'b a(b) a=b a&b a$b a~b a|b a^b a`b a{b} a<b> a\"b a%62 a+b".split(),
        *"a.b\u200d.example a\u00adb\u0378.example \u202eexample.org ☃\u20e3.1".split(),
        "a" * 64 + ".example",
        "ü" * 60 + ".example",
        "\U0001f4a9" * 30 + ".example",
        ".".join(["a" * 63] * 4),
    ],
)
def test_j_url_idna_what_is_no_name_is_refused(host: str) -> None:
    with pytest.raises(InvalidURL):
        URL(f"http://{host}/")


@pytest.mark.parametrize("character", ["\u00a0", "\U0010fffd"])
def test_j_url_idna_a_message_shows_little_of_a_long_name(character: str) -> None:
    """idna's own shows all of a label, each character of which may take ten to be shown."""
    with pytest.raises(InvalidURL) as caught:
        URL(f"http://{character * 200}/")
    assert len(str(caught.value)) < 80 * 10 + 200


@given(strategies.text(max_size=30))
def test_whatever_the_host_is_the_error_is_ours_and_the_result_is_safe(host: str) -> None:
    try:
        url = URL(f"http://{host}/")
    except HTTPCoreError:
        return
    authority = url.origin.authority
    assert authority.isascii()
    assert not set(authority) & set(b"\r\n\0 \t/?#@\\")
    assert url.target.isascii()
    assert not set(url.target) & set(b"\r\n\0 \t")


@given(strategies.text() | strategies.binary())
def test_whatever_the_url_is_the_error_is_ours(url: str | bytes) -> None:
    try:
        parsed = URL(url)
    except HTTPCoreError:
        return
    assert URL(str(parsed)) == parsed


# j_url_long


LONG: dict[str, Callable[[int], str]] = {
    "path": lambda size: "http://x/" + "a" * size,
    "percents": lambda size: "http://x/?" + "%" * size,
    "path beyond ASCII": lambda size: "http://x/" + "ü" * (size // 2),
    "ats": lambda size: "http://" + "@" * size + "x/",
    "userinfo": lambda size: "http://" + "a:" * (size // 2) + "@x/",
    "one label": lambda size: "http://" + "a" * size + "/",
    "labels": lambda size: "http://" + "a." * (size // 2) + "!/",
    "U-label": lambda size: "http://" + "ü" * (size // 2) + "/",
    "U-labels": lambda size: "http://" + "ü." * (size // 3) + "/",
    "A-labels": lambda size: "http://" + "xn--a." * (size // 6) + "/",
    "numbers": lambda size: "http://" + "1." * (size // 2) + "/",
    "IPv6": lambda size: "http://[" + "0:" * (size // 2) + "]/",
    "zone": lambda size: "http://[::1%25" + "a" * size + "!]/",
    "port": lambda size: "http://x:" + "1" * size + "/",
    "no scheme": lambda size: "a" * size,
    "scheme": lambda size: "a" * size + "://x/",
    "fragment": lambda size: "http://x/#" + "#" * size,
}


@pytest.mark.parametrize("kind", LONG)
def test_j_url_long_a_megabyte_takes_linear_time_and_no_more_of_it_is_said_than_helps(kind: str) -> None:
    def seconds(size: int) -> float:
        url = LONG[kind](size)
        said: list[str] = []

        def parse() -> None:
            try:
                URL(url)
            except (InvalidURL, UnsupportedProtocol) as exc:
                said.append(str(exc))

        took = cpu_seconds(parse)
        assert all(len(message) < 500 for message in said)
        return took

    # A hundred times as long: linear is a factor of 100, quadratic one of 10,000.
    assert_cheaper(lambda: seconds(1_000_000), 1000, lambda: seconds(10_000), at_least=5e-5)


# Through the pool


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ("http://user:hunter2@127.1/", InvalidURL),
        ("ftp://example.org/", UnsupportedProtocol),
        ("http://127.0.0.1:99999/", InvalidURL),
        ("http://127.0.0.1/a b", InvalidURL),
        ("http://127.0.0.1/\r\nx: y", InvalidURL),
        ("", UnsupportedProtocol),
        (b"http://127.0.0.1/\xff", InvalidURL),
        (None, TypeError),
        (5, TypeError),
        (["http://127.0.0.1/"], TypeError),
    ],
)
async def test_a_bad_url_is_refused_and_the_pool_works_as_before(
    world: World, bad: str, error: type[Exception]
) -> None:
    http = world.pool()
    with ScriptedPeer.answering(HELLO) as peer:
        with pytest.raises(error) as caught:
            await http.request("GET", bad)
        assert str(caught.value)
        if isinstance(caught.value, HTTPCoreError):
            assert not caught.value.request_sent
        assert (peer.accepted, http.connections) == (0, [])
        assert (await http.request("GET", peer.url)).body == b"hello"


async def test_credentials_in_a_url_are_sent_nowhere(world: World) -> None:
    http = world.pool()
    with ScriptedPeer.answering(HELLO) as peer:
        response = await http.request("GET", f"http://user:hunter2@{peer.authority}/path")
        assert b"hunter2" not in peer.requests[0].raw_head
        assert peer.requests[0].header(b"host") == peer.authority.encode()
        assert "hunter2" not in f"{response!r} {response.request!r} {response.request.url!r} {http!r} {http.stats()!r}"


async def test_a_url_may_be_str_bytes_or_a_url(world: World) -> None:
    http = world.pool()
    with ScriptedPeer.answering(HELLO) as peer:
        for url in (f"{peer.origin}/a?b", f"{peer.origin}/a?b".encode(), URL(f"{peer.origin}/a?b")):
            assert (await http.request("GET", url)).status_code == 200
    assert [request.target for request in peer.requests] == [b"/a?b"] * 3
    assert peer.accepted == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_an_address_as_host_is_connected_to_and_sent_as_written(world: World, host: str) -> None:
    http = world.pool()

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(HELLO)

    with ScriptedPeer(script, host=host) as peer:
        assert (await http.request("GET", peer.url)).body == b"hello"
        assert peer.requests[0].header(b"host") == peer.authority.encode()
