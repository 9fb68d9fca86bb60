"""Requests that break HTTP/1.1, or stretch it: what is sent, by which rule, and what may come of it.

Collected from RFC 9110 and 9112, from what public collections send (Http11Probe, HTTP Garden), and
from advisories about request smuggling. `{t}` is a target that no other probe has.

`refuse`: an error or a closed connection, and no request reaches the model server.
`forward`: the model server gets exactly `expect`, and the connection goes on behind it.
`either`: one of both; or it is forwarded and the connection closed behind it.
"""

from dataclasses import dataclass, field

HOST = "Host: test\r\n"
REFUSE, FORWARD, EITHER = "refuse", "forward", "either"


@dataclass
class Probe:
    name: str
    rule: str
    want: str
    text: str
    method: str = "POST"
    target: str = "{t}"
    body: str = "hello"
    """Values that fields must have at the model server; None: the field must not be there."""
    fields: dict = field(default_factory=dict)
    trailers: dict = field(default_factory=dict)
    """Whether another request follows on the connection."""
    follow: bool = True
    """Whether the client ends its side behind it."""
    half_close: bool = False
    """A request that must have been served before the one that is probed."""
    first: bool = False
    """Statuses that the answer may have besides those of a refusal."""
    status: int = 200


PROBES = []


def probe(name, rule, want, text, **more):
    PROBES.append(Probe(name, rule, want, text, **more))


def get(name, rule, want, line="GET {t} HTTP/1.1", fields="", host=HOST, **more):
    probe(name, rule, want, f"{line}\r\n{host}{fields}\r\n", **{"method": "GET", "body": "", **more})


def post(name, rule, want, fields="", content="hello", **more):
    probe(name, rule, want, f"POST {{t}} HTTP/1.1\r\n{HOST}{fields}\r\n{content}", **more)


def chunked(name, rule, want, content, **more):
    post(name, rule, want, "Transfer-Encoding: chunked\r\n", content, **more)


# === what must work ===

get("a plain GET", "9112 3", FORWARD)
post("a body with a length", "9112 6.2", FORWARD, "Content-Length: 5\r\n")
chunked("a body in chunks", "9112 7.1", FORWARD, "5\r\nhello\r\n0\r\n\r\n")
post("a POST without a body", "9112 6.3", FORWARD, content="", body="")
post("an empty body", "9110 8.6", FORWARD, "Content-Length: 0\r\n", "", body="")
get("one empty line in front", "9112 2.2", FORWARD, "\r\nGET {t} HTTP/1.1")
get("two empty lines in front", "9112 2.2", EITHER, "\r\n\r\nGET {t} HTTP/1.1")
get("OPTIONS *", "9112 3.2.4", FORWARD, "OPTIONS * HTTP/1.1", fields="X-Probe: {t}\r\n", method="OPTIONS", target="*")
get("the absolute form", "9112 3.2.2", FORWARD, "GET http://test{t} HTTP/1.1")
get("the absolute form with the default port", "9112 3.2.2", FORWARD, "GET http://test:80{t} HTTP/1.1")
get("the absolute form in capitals", "3986 3.1", FORWARD, "GET HTTP://TEST{t} HTTP/1.1")
get("the absolute form without a path", "9112 3.2.2", FORWARD, "GET http://test?{t} HTTP/1.1", target="/?{t}")
get("a target of 8000 bytes", "9112 3", FORWARD, "GET {t}" + "a" * 7980 + " HTTP/1.1", target="{t}" + "a" * 7980)
get("HTTP/1.0", "9112 9.3", FORWARD, "GET {t} HTTP/1.0", follow=False)
get("HTTP/1.0 without Host", "9112 3.2", FORWARD, "GET {t} HTTP/1.0", host="", follow=False)
get("HTTP/1.0 that is kept alive", "9112 9.3", FORWARD, "GET {t} HTTP/1.0", fields="Connection: keep-alive\r\n")
get("Connection: close", "9112 9.6", FORWARD, fields="Connection: close\r\n", follow=False)
get("a request of a client that ends its side", "9112 9.6", EITHER, half_close=True, follow=False)
get("a method nobody knows", "9110 9.1", FORWARD, "FOOBAR {t} HTTP/1.1", method="FOOBAR")
get("a method with a hyphen", "9110 9.1", FORWARD, "M-SEARCH {t} HTTP/1.1", method="M-SEARCH")
get("a method in small letters is another one", "9110 9.1", FORWARD, "get {t} HTTP/1.1", method="get")
get("three requests at once", "9112 9.3.2", FORWARD, first=True)

# === the first line ===

get("LF alone behind the first line", "9112 2.2", EITHER, "GET {t} HTTP/1.1\nX-A: b")
get("CR alone behind the first line", "9112 2.2", REFUSE, "GET {t} HTTP/1.1\rX-A: b")
get("CR CR LF behind the first line", "9112 2.2", REFUSE, "GET {t} HTTP/1.1\r")
get("LF CR behind the first line", "9112 2.2", REFUSE, "GET {t} HTTP/1.1\n\rX-A: b")
probe("LF alone everywhere", "9112 2.2", EITHER, "GET {t} HTTP/1.1\nHost: test\n\n", method="GET", body="")
probe("CR alone everywhere", "9112 2.2", REFUSE, "GET {t} HTTP/1.1\rHost: test\r\r")
get("an LF in front", "9112 2.2", EITHER, "\nGET {t} HTTP/1.1")
get("a hundred empty lines in front", "9112 2.2", EITHER, "\r\n" * 100 + "GET {t} HTTP/1.1")
get("a line of spaces in front", "9112 2.2", REFUSE, "   \r\nGET {t} HTTP/1.1")
get("a space in front", "9112 3", EITHER, " GET {t} HTTP/1.1")
get("two spaces in the first line", "9112 3", EITHER, "GET  {t} HTTP/1.1")
get("two spaces before the version", "9112 3", EITHER, "GET {t}  HTTP/1.1")
get("a space behind the version", "9112 3", EITHER, "GET {t} HTTP/1.1 ")
get("a tab for a space", "9112 3", EITHER, "GET\t{t} HTTP/1.1")
get("a tab before the version", "9112 3", EITHER, "GET {t}\tHTTP/1.1")
get("a vertical tab for a space", "9112 3", EITHER, "GET\x0b{t} HTTP/1.1")
get("a form feed for a space", "9112 3", EITHER, "GET\x0c{t} HTTP/1.1")
get("a bare CR for a space", "9112 2.2", REFUSE, "GET\r{t} HTTP/1.1")
get("no target", "9112 3", REFUSE, "GET HTTP/1.1")
get("an empty target", "9112 3", REFUSE, "GET  HTTP/1.1")
get("no version", "9112 3", REFUSE, "GET {t}")
probe("HTTP/0.9", "9112 3", REFUSE, "GET {t}\r\n", half_close=True, follow=False)
get("only a method", "9112 3", REFUSE, "GET")
get("four words", "9112 3", REFUSE, "GET {t} x HTTP/1.1")
get("two versions", "9112 3", REFUSE, "GET {t} HTTP/1.1 HTTP/1.1")
for version, rule in (
    ("HTTP/1.2", "9112 2.3"),
    ("HTTP/1.9", "9112 2.3"),
    ("HTTP/2.0", "9112 2.3"),
    ("HTTP/3.0", "9112 2.3"),
    ("HTTP/0.9", "9112 2.3"),
    ("HTTP/9.9", "9112 2.3"),
    ("http/1.1", "9112 2.3"),
    ("Http/1.1", "9112 2.3"),
    ("HTTP/1", "9112 2.3"),
    ("HTTP/1.", "9112 2.3"),
    ("HTTP/.1", "9112 2.3"),
    ("HTTP/01.1", "9112 2.3"),
    ("HTTP/1.01", "9112 2.3"),
    ("HTTP/ 1.1", "9112 2.3"),
    ("HTTP/1 .1", "9112 2.3"),
    ("HTTP /1.1", "9112 2.3"),
    ("HTTP/1.1.1", "9112 2.3"),
    ("HTTP/1,1", "9112 2.3"),
    ("HTTP/11", "9112 2.3"),
    ("HTTP/1.1x", "9112 2.3"),
    ("HTTP/+1.1", "9112 2.3"),
    ("HTTP\\1.1", "9112 2.3"),
    ("HTTPS/1.1", "9112 2.3"),
    ("XTTP/1.1", "9112 2.3"),
    ("HTTP/1.1\0", "9112 2.3"),
    ("HTTP/1.\u00b1", "9112 2.3"),
):
    want = EITHER if version in ("HTTP/1.2", "HTTP/1.9") else REFUSE
    get(f"version {version!r}", rule, want, f"GET {{t}} {version}")
for what, method in (
    ("a bracket", "GE(T"),
    ("a colon", "GET:"),
    ("a quote", 'GE"T'),
    ("a comma", "GET,POST"),
    ("a slash", "GE/T"),
    ("a NUL", "GE\0T"),
    ("a control character", "GE\x01T"),
    ("DEL", "GE\x7fT"),
    ("a byte beyond ASCII", "GE\u00e9T"),
    ("an at sign", "@GET"),
    ("braces", "{GET}"),
):
    get(f"a method with {what}", "9110 9.1", REFUSE, f"{method} {{t}} HTTP/1.1")
get("a method of 9000 letters", "9112 3", EITHER, "A" * 9000 + " {t} HTTP/1.1", method="A" * 9000)
get("a method that never ends", "9112 3", REFUSE, "A" * 70000)
get("CONNECT", "9110 9.3.6", REFUSE, "CONNECT test:443 HTTP/1.1")
get("CONNECT with a path", "9112 3.2.3", REFUSE, "CONNECT {t} HTTP/1.1")
get("TRACE", "9110 9.3.8", REFUSE, "TRACE {t} HTTP/1.1", fields="Authorization: Bearer secret\r\n")
get("TRACE with a body", "9110 9.3.8", REFUSE, "TRACE {t} HTTP/1.1", fields="Content-Length: 0\r\n")
probe("the preface of HTTP/2 behind a request", "9113 3.4", REFUSE, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", first=True)

# === the target ===

get("GET *", "9112 3.2.4", REFUSE, "GET * HTTP/1.1", fields="X-Probe: {t}\r\n")
get("POST *", "9112 3.2.4", REFUSE, "POST * HTTP/1.1", fields="X-Probe: {t}\r\n")
get("OPTIONS *x", "9112 3.2.4", REFUSE, "OPTIONS *x HTTP/1.1", fields="X-Probe: {t}\r\n")
get("a host that differs from the target's", "9112 3.2.2", REFUSE, "GET http://other{t} HTTP/1.1")
get("a port that differs from the target's", "9112 3.2.2", REFUSE, "GET http://test:81{t} HTTP/1.1")
get("the absolute form without Host", "9112 3.2", REFUSE, "GET http://test{t} HTTP/1.1", host="")
get("the absolute form with an empty Host", "9112 3.2", REFUSE, "GET http://test{t} HTTP/1.1", host="Host:\r\n")
get("user information in the target", "9110 4.2.4", REFUSE, "GET http://me@test{t} HTTP/1.1")
get("user and password in the target", "9110 4.2.4", REFUSE, "GET http://me:pw@test{t} HTTP/1.1")
get("another scheme", "9112 3.2.2", REFUSE, "GET ftp://test{t} HTTP/1.1")
get("a file URL", "9112 3.2.2", REFUSE, "GET file:///etc/passwd HTTP/1.1")
get("an empty host in the target", "9110 4.2.1", REFUSE, "GET http://{t} HTTP/1.1")
get("the authority form", "9112 3.2.3", REFUSE, "GET test:80 HTTP/1.1")
get("a target without a slash", "9112 3.2", REFUSE, "GET x{t} HTTP/1.1")
get("a target of a query alone", "9112 3.2", REFUSE, "GET ?{t} HTTP/1.1")
get("a fragment", "9112 3.2", REFUSE, "GET {t}#part HTTP/1.1")
get("a fragment in the absolute form", "9112 3.2.2", REFUSE, "GET http://test{t}#part HTTP/1.1")
get("a fragment behind a query", "9112 3.2", REFUSE, "GET {t}?a#b HTTP/1.1")
get("a space in the target", "9112 3.2", REFUSE, "GET {t} a HTTP/1.1")
get("a tab in the target", "9112 3.2", REFUSE, "GET {t}\ta HTTP/1.1")
for what, byte in (
    ("NUL", "\0"),
    ("a control character", "\x01"),
    ("escape", "\x1b"),
    ("DEL", "\x7f"),
    ("a bare CR", "\r"),
    ("a bare LF", "\n"),
):
    get(f"{what} in the target", "9112 3.2", REFUSE, f"GET {{t}}{byte}a HTTP/1.1")
for what, more in (
    ("UTF-8", "\u00c3\u00bc"),
    ("an overlong dot", "\u00c0\u00ae"),
    ("Latin-1", "\u00e9"),
    ("a backslash", "\\a"),
    ("quotes", '"a"'),
    ("brackets", "[a]"),
    ("angle brackets", "<a>"),
    ("a bar", "|a"),
    ("a caret", "^a"),
    ("an escaped NUL", "%00"),
    ("an escaped line end", "%0d%0aX-A:%20b"),
    ("half an escape", "%a"),
    ("no escape", "%zz"),
    ("dots", "/../../a"),
    ("escaped dots", "/%2e%2e/a"),
    ("slashes", "//a"),
    ("a semicolon", ";a=b"),
    ("an at sign", "@other"),
    ("a scheme", "/http://other/"),
):
    get(f"{what} in the target", "3986 3.3", EITHER, f"GET {{t}}{more} HTTP/1.1", target="{t}" + more)
get("two slashes in front", "3986 3.3", EITHER, "GET //other{t} HTTP/1.1", target="//other{t}")
get("a target beyond the limit", "9112 3", REFUSE, "GET {t}" + "a" * 70000 + " HTTP/1.1")

# === Host ===

get("no Host", "9112 3.2", REFUSE, host="")
get("two Hosts", "9112 3.2", REFUSE, fields="Host: other\r\n")
get("the same Host twice", "9112 3.2", REFUSE, fields=HOST)
get("an empty Host", "9110 4.2.1", REFUSE, host="Host:\r\n")
get("a Host of blanks", "9110 4.2.1", REFUSE, host="Host: \t \r\n")
for value in (
    "test/a",
    "me@test",
    "test, other",
    "test other",
    "test\tother",
    "test?a",
    "test#a",
    "test\\a",
    "te<s>t",
    'te"st',
    "t\u00e9st",
    "test:80:80",
    "test:8a",
    "test:-1",
    "test:+80",
    "[::1",
    "::1]",
    "[::1]x",
    "[::1]:x",
    "te[s]t",
    "http://test",
    "test:80/",
    ":80",
    "[]",
    "[g::1]",
    "test%",
    "te%zzst",
    "%",
    "te^st",
    "te|st",
):
    get(f"Host {value!r}", "9112 3.2", REFUSE, host=f"Host: {value}\r\n")
for value in ("[::1]", "[::1]:80", "127.0.0.1:8080", "test:", "TEST", "te_st", "test.", "xn--tst-qla", "a%20b"):
    get(f"Host {value!r}", "9110 7.2", EITHER, host=f"Host: {value}\r\n", fields="X-A: b\r\n")
get("a NUL in Host", "9110 5.5", REFUSE, host="Host: te\0st\r\n")
get("a bare CR in Host", "9112 2.2", REFUSE, host="Host: test\rHost: other\r\n")
get("a bare LF in Host", "9112 2.2", REFUSE, host="Host: test\nHost: other\r\n")
get("a folded Host", "9112 5.2", REFUSE, host="Host:\r\n test\r\n")
get("a folded second Host", "9112 5.2", REFUSE, fields="X-A: b\r\n Host: other\r\n")
get("a space before the colon of Host", "9112 5.1", REFUSE, host="Host : test\r\n")
get("a space before Host", "9112 2.2", REFUSE, host=" Host: test\r\n")
get("Host as a second one in disguise", "9112 5.1", REFUSE, fields="Host : other\r\n")

# === fields ===

for what, line in (
    ("an empty name", ": b"),
    ("no colon", "nothing"),
    ("a space before the colon", "X-A : b"),
    ("a tab before the colon", "X-A\t: b"),
    ("a space in a name", "X A: b"),
    ("a tab in a name", "X\tA: b"),
    ("a bracket in a name", "X[A: b"),
    ("a quote in a name", 'X"A: b'),
    ("a slash in a name", "X/A: b"),
    ("a comma in a name", "X,A: b"),
    ("an at sign in a name", "X@A: b"),
    ("NUL in a name", "X\0A: b"),
    ("a control character in a name", "X\x01A: b"),
    ("DEL in a name", "X\x7fA: b"),
    ("UTF-8 in a name", "X\u00c3\u00bc: b"),
    ("a no-break space in a name", "Content-Length\u00a0: 5"),
    ("a bare CR in a name", "X\rA: b"),
    ("a NUL behind a name", "Content-Length\0: 5"),
    ("a vertical tab behind a name", "Content-Length\x0b: 5"),
    ("a tab in Content-Length's name", "Content\tLength: 5"),
):
    get(what, "9112 5.1", REFUSE, fields=f"{line}\r\n")
for what, value in (
    ("NUL", "a\0b"),
    ("a bare CR", "a\rb"),
    ("a bare CR at the end", "a\r"),
    ("a CR and a field", "a\rContent-Length: 5"),
    ("a control character", "a\x01b"),
    ("a bell", "a\x07b"),
    ("a backspace", "a\x08b"),
    ("a vertical tab", "a\x0bb"),
    ("a form feed", "a\x0cb"),
    ("escape", "a\x1bb"),
    ("DEL", "a\x7fb"),
):
    get(f"{what} in a value", "9110 5.5", REFUSE, fields=f"X-A: {value}\r\n")
get("LF alone behind a field", "9112 2.2", EITHER, fields="X-A: b\nX-C: d\r\n")
get("LF alone and a length", "9112 2.2", REFUSE, fields="X-A: b\nContent-Length: 5\r\n")
get("a folded line", "9112 5.2", EITHER, fields="X-A: b\r\n c\r\n")
get("a line folded with a tab", "9112 5.2", EITHER, fields="X-A: b\r\n\tc\r\n")
get("a fold of nothing but blanks", "9112 5.2", EITHER, fields="X-A: b\r\n  \r\n")
get("blanks before the first field", "9112 2.2", EITHER, host=" X-A: b\r\n" + HOST)
get("a line of blanks before the first field", "9112 2.2", EITHER, host=" \r\n" + HOST)
get("a folded length", "9112 5.2", REFUSE, fields="X-A: b\r\n Content-Length: 5\r\n")
get("CR alone before the end of the head", "9112 2.2", REFUSE, fields="X-A: b\r\n\r")
get("bytes beyond ASCII in a value", "9110 5.5", FORWARD, fields="X-A: \u00ff\u0080\u00c3\u00bc\r\n")
PROBES[-1].fields = {"x-a": "\u00ff\u0080\u00c3\u00bc"}
get("a tab in a value", "9110 5.5", FORWARD, fields="X-A: a\tb\r\n")
PROBES[-1].fields = {"x-a": "a\tb"}
get("blanks around a value", "9112 5.1", FORWARD, fields="X-A: \t a \t \r\n")
PROBES[-1].fields = {"x-a": "a"}
get("an empty value", "9110 5.5", FORWARD, fields="X-A:\r\n")
PROBES[-1].fields = {"x-a": ""}
get("a hundred and one fields", "6585 5", REFUSE, fields="".join(f"X-{i}: b\r\n" for i in range(101)))
get("a value beyond the limit", "6585 5", REFUSE, fields="X-A: " + "a" * 70000 + "\r\n")
get("a name beyond the limit", "6585 5", REFUSE, fields="A" * 70000 + ": b\r\n")
get("two types", "9110 8.3", EITHER, fields="Content-Type: a/b\r\nContent-Type: c/d\r\n")
for name in ("Content_Length", "Transfer_Encoding"):
    get(f"{name}, which gateways read as another", "9110 5.1", REFUSE, fields=f"{name}: 5\r\n")
for what, lines, gone in (
    ("what Connection names", "Connection: X-Hop\r\nX-Hop: a\r\n", "x-hop"),
    ("what a second Connection names", "Connection: close, x-hop\r\nConnection: X-Other\r\nX-Other: a\r\n", "x-other"),
    ("Keep-Alive", "Keep-Alive: timeout=5\r\n", "keep-alive"),
    ("Proxy-Connection", "Proxy-Connection: keep-alive\r\n", "proxy-connection"),
    ("TE", "TE: gzip\r\nConnection: TE\r\n", "te"),
    ("Upgrade without Connection", "Upgrade: websocket\r\n", "upgrade"),
    (
        "an upgrade to h2c",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        "upgrade",
    ),
    (
        "settings of h2c",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        "http2-settings",
    ),
    ("settings of h2c that nobody names", "HTTP2-Settings: AAMAAABkAAQAAP__\r\n", "http2-settings"),
    ("credentials for a proxy", "Proxy-Authorization: Basic eDp5\r\n", "proxy-authorization"),
):
    get(f"{what} ends here", "9110 7.6.1", FORWARD, fields=lines, follow="close" not in lines)
    PROBES[-1].fields = {gone: None}
for name, value in (
    ("Authorization", "Bearer a"),
    ("Cookie", "a=b"),
    ("Content-Type", "a/b"),
    ("X-Forwarded-For", None),
    ("Host", "test"),
):
    line = f"{name}: {value}\r\n" if value and name != "Host" else ""
    get(f"Connection cannot take {name} off", "9110 7.6.1", EITHER, fields=f"{line}Connection: {name}\r\n")
    PROBES[-1].fields = {name.lower(): value} if value and name != "Host" else {}
post(
    "Connection cannot take Content-Length off",
    "9110 7.6.1",
    EITHER,
    "Connection: Content-Length\r\nContent-Length: 5\r\n",
)
post(
    "Connection cannot take Transfer-Encoding off",
    "9110 7.6.1",
    EITHER,
    "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n",
    "5\r\nhello\r\n0\r\n\r\n",
)

# === Content-Length ===

for value in (
    "+5",
    "-5",
    "-0",
    "0x5",
    "0o5",
    "5_",
    "1_0",
    "5 5",
    "1 0",
    "5,6",
    "5, 10",
    "5.0",
    "5e0",
    "abc",
    "5a",
    "a5",
    "5;a",
    '"5"',
    "5\x0b",
    "\x0b5",
    "5\0",
    "\u00b5",
    "\u00d9\u00a5",
    "5\u00a0",
    "99999999999999999999",
    "18446744073709551616",
    "18446744073709551621",
    "9223372036854775808999",
    "5/1",
    "$5",
    "(5)",
    "5\u00b2",
    ",5",
    "5,",
    ",",
):
    post(f"Content-Length {value!r}", "9112 6.3", REFUSE, f"Content-Length: {value}\r\n")
post("an empty Content-Length", "9112 6.3", REFUSE, "Content-Length:\r\n", "")
post("a list of equal lengths", "9110 8.6", EITHER, "Content-Length: 5, 5\r\n")
post("a list of three equal lengths", "9110 8.6", EITHER, "Content-Length: 5,5 ,5\r\n")
post("two equal lengths", "9110 8.6", EITHER, "Content-Length: 5\r\nContent-Length: 5\r\n")
post("two lengths of one value", "9110 8.6", EITHER, "Content-Length: 5\r\nContent-Length: 005\r\n")
post("two lengths", "9112 6.3", REFUSE, "Content-Length: 5\r\nContent-Length: 10\r\n", "helloworld")
post("two lengths, the shorter last", "9112 6.3", REFUSE, "Content-Length: 10\r\nContent-Length: 5\r\n", "helloworld")
post("a length and none", "9112 6.3", REFUSE, "Content-Length: 5\r\nContent-Length:\r\n")
post("zeros in front", "9110 8.6", EITHER, "Content-Length: 005\r\n")
post(
    "zeros that are not octal",
    "9110 8.6",
    EITHER,
    "Content-Length: 0000000000000000012\r\n",
    "hello, world",
    body="hello, world",
)
post("twenty zeros", "9110 8.6", EITHER, f"Content-Length: {'0' * 30}5\r\n")
post("blanks around a length", "9112 5.1", FORWARD, "Content-Length: \t5 \t\r\n")
post("two spaces before a length", "9112 5.1", FORWARD, "Content-Length:  5\r\n")
post(
    "a length, and one with a space before its colon", "9112 5.1", REFUSE, "Content-Length: 5\r\nContent-Length : 0\r\n"
)
post("a body that ends early", "9112 8", REFUSE, "Content-Length: 10\r\n", half_close=True, follow=False)
post("a huge length", "9112 8", REFUSE, "Content-Length: 999999999\r\n", half_close=True, follow=False)
post("more than the length is no request", "9112 6.3", REFUSE, "Content-Length: 5\r\n", "hello\0\0", first=True)
PROBES[-1].text = "\0\0\r\n\r\n"
for method in ("GET", "DELETE", "OPTIONS", "HEAD", "FOOBAR"):
    probe(
        f"{method} with a body",
        "9110 9.3",
        EITHER,
        f"{method} {{t}} HTTP/1.1\r\n{HOST}Content-Length: 5\r\n\r\nhello",
        method=method,
    )
probe(
    "GET with a body in chunks",
    "9110 9.3.1",
    EITHER,
    f"GET {{t}} HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    method="GET",
)
probe(
    "a request in a body stays there",
    "9112 11.2",
    EITHER,
    f"GET {{t}} HTTP/1.1\r\n{HOST}Content-Length: 39\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: test\r\n\r\na",
    method="GET",
    body="GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\na",
)

# === Transfer-Encoding ===

CHUNKS = "5\r\nhello\r\n0\r\n\r\n"
SMUGGLE = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n"
post("a length, then chunks", "9112 6.3", EITHER, "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", CHUNKS)
post("chunks, then a length", "9112 6.3", EITHER, "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", CHUNKS)
post(
    "a length of nothing, and chunks", "9112 6.3", EITHER, "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", CHUNKS
)
post("CL.TE", "9112 11.2", REFUSE, f"Content-Length: {len(SMUGGLE)}\r\nTransfer-Encoding: chunked\r\n", SMUGGLE)
post("TE.CL", "9112 11.2", REFUSE, "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", SMUGGLE)
post("0.CL", "9112 11.2", REFUSE, "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", SMUGGLE)
post(
    "TE.TE",
    "9112 11.2",
    REFUSE,
    f"Content-Length: {len(SMUGGLE)}\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n",
    SMUGGLE,
)
for value in ("chunked", "Chunked", "CHUNKED"):
    post(f"Transfer-Encoding {value}", "9112 7", FORWARD, f"Transfer-Encoding: {value}\r\n", CHUNKS)
post("blanks around chunked", "9112 5.1", FORWARD, "Transfer-Encoding: \tchunked \t\r\n", CHUNKS)
post("TRANSFER-ENCODING", "9110 5.1", FORWARD, "TRANSFER-ENCODING: chunked\r\n", CHUNKS)
for value in ("chunked,", ",chunked", ", chunked", " ,chunked, ,"):
    post(f"Transfer-Encoding {value!r}", "9110 5.6.1", EITHER, f"Transfer-Encoding: {value}\r\n", CHUNKS)
for value in (
    "xchunked",
    "chunkedx",
    "x",
    "gzip",
    "identity",
    "chunked, gzip",
    "chunked, identity",
    "identity, chunked",
    "chunked, chunked",
    "gzip, chunked",
    "chunked gzip",
    "chunk ed",
    '"chunked"',
    "'chunked'",
    "chunked;q=1",
    "chunked;a=b",
    "\x0bchunked",
    "chunked\x0b",
    "\x0cchunked",
    "chunked\0",
    "\0chunked",
    "chunked\x01",
    "chunked\u00a0",
    "\u00a0chunked",
    "\u00c4\u0089hunked",
    "chunked\u00ff",
    "(chunked)",
    "chunked/1",
    "chunked=1",
    "cow",
    "-chunked",
    "trailers",
):
    post(f"Transfer-Encoding {value!r}", "9112 6.1", REFUSE, f"Transfer-Encoding: {value}\r\n", CHUNKS)
post("an empty Transfer-Encoding", "9112 6.1", REFUSE, "Transfer-Encoding:\r\n", CHUNKS)
post("an empty Transfer-Encoding and a length", "9112 6.1", REFUSE, "Transfer-Encoding:\r\nContent-Length: 5\r\n")
post(
    "two Transfer-Encodings",
    "9112 6.1",
    REFUSE,
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    CHUNKS,
)
post(
    "two Transfer-Encodings, chunked last",
    "9112 6.1",
    REFUSE,
    "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
    CHUNKS,
)
post("chunked twice", "9112 6.1", REFUSE, "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", CHUNKS)
post("an unknown coding and a length", "9112 6.1", REFUSE, "Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n")
post("identity and a length", "9112 7", REFUSE, "Transfer-Encoding: identity\r\nContent-Length: 5\r\n")
post("a folded coding", "9112 5.2", REFUSE, "Transfer-Encoding:\r\n chunked\r\n", CHUNKS)
post("a coding folded behind its value", "9112 5.2", REFUSE, "Transfer-Encoding: chunked\r\n \r\n", CHUNKS)
post("a folded coding behind another field", "9112 5.2", REFUSE, "X-A: b\r\n Transfer-Encoding: chunked\r\n", CHUNKS)
post("a space before Transfer-Encoding's colon", "9112 5.1", REFUSE, "Transfer-Encoding : chunked\r\n", CHUNKS)
post("a tab before Transfer-Encoding's colon", "9112 5.1", REFUSE, "Transfer-Encoding\t: chunked\r\n", CHUNKS)
post("a NUL before Transfer-Encoding's colon", "9112 5.1", REFUSE, "Transfer-Encoding\0: chunked\r\n", CHUNKS)
post("a coding behind a bare CR", "9112 2.2", REFUSE, "X-A: b\rTransfer-Encoding: chunked\r\n", CHUNKS)
post("a coding behind a bare LF", "9112 2.2", EITHER, "X-A: b\nTransfer-Encoding: chunked\r\n", CHUNKS)
probe(
    "chunks in HTTP/1.0", "9112 6.1", REFUSE, f"POST {{t}} HTTP/1.0\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n{CHUNKS}"
)
probe(
    "chunks and a length in HTTP/1.0",
    "9112 6.1",
    REFUSE,
    f"POST {{t}} HTTP/1.0\r\n{HOST}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello",
)

# === chunks ===

for what, size in (("capitals", "00000A"), ("zeros", "0000000a")):
    chunked(f"a size with {what}", "9112 7.1", FORWARD, f"{size}\r\nhello12345\r\n0\r\n\r\n", body="hello12345")
chunked("many chunks", "9112 7.1", FORWARD, "1\r\nh\r\n2\r\nel\r\n2\r\nlo\r\n0\r\n\r\n")
chunked("no chunk but the last", "9112 7.1", FORWARD, "0\r\n\r\n", body="")
chunked("a last chunk of zeros", "9112 7.1", FORWARD, "5\r\nhello\r\n0000\r\n\r\n")
chunked("a size with forty zeros", "9112 7.1", EITHER, f"{'0' * 40}5\r\nhello\r\n0\r\n\r\n")
chunked("an extension", "9112 7.1.1", FORWARD, "5;a=b\r\nhello\r\n0;c\r\n\r\n")
chunked("a quoted extension", "9112 7.1.1", FORWARD, '5;a="b;c"\r\nhello\r\n0\r\n\r\n')
chunked("blanks around an extension", "9112 7.1.1", FORWARD, "5 ;\ta = b\r\nhello\r\n0\r\n\r\n")
for what, line in (
    ("a space behind a size", "5 "),
    ("a tab behind a size", "5\t"),
    ("an extension without a name", "5;"),
    ("an extension that is no token", "5;b[=c"),
    ("a control character in an extension", "5;a\x01"),
    ("bytes beyond ASCII in an extension", "5;a=\u00ff"),
    ("nothing behind an extension's equals sign", "5;a="),
    ("a blank behind an extension", "5;a "),
    ("an open quote in an extension", '5;a="'),
):
    chunked(what, "9112 7.1.1", REFUSE, f"{line}\r\nhello\r\n0\r\n\r\n")
for size in (
    "",
    " 5",
    "\t5",
    "+5",
    "-5",
    "0x5",
    "5_",
    "1_0",
    "5h",
    "g",
    "5.0",
    "five",
    "\u00b5",
    "5\0",
    "5\x0b",
    "5 5",
    "5,5",
    "FFFFFFFFFFFFFFFF0",
    "10000000000000005",
    "5;\0",
    "5\u00a0",
    '"5"',
    "=5",
):
    chunked(f"a chunk size {size!r}", "9112 7.1", REFUSE, f"{size}\r\nhello\r\n0\r\n\r\n")
chunked(
    "a chunk beyond every length",
    "9112 7.1",
    REFUSE,
    "FFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
    half_close=True,
    follow=False,
)
chunked("LF alone behind a size", "9112 7.1", EITHER, "5\nhello\r\n0\r\n\r\n")
chunked("LF alone behind a chunk", "9112 7.1", EITHER, "5\r\nhello\n0\r\n\r\n")
chunked("LF alone behind the last chunk", "9112 7.1", EITHER, "5\r\nhello\r\n0\n\n")
chunked("LF alone in an extension", "9112 7.1.1", REFUSE, "5;a\nhello\r\n0\r\n\r\n")
chunked("CR alone behind a size", "9112 7.1", REFUSE, "5\rhello\r\n0\r\n\r\n")
chunked("CR alone in an extension", "9112 7.1.1", REFUSE, "5;a\rX\r\nhello\r\n0\r\n\r\n")
chunked("CR CR LF behind a size", "9112 7.1", REFUSE, "5\r\r\nhello\r\n0\r\n\r\n")
chunked(
    "TERM.EXT: an LF in an extension hides a chunk",
    "9112 7.1.1",
    REFUSE,
    "2;\nxx\r\n10\r\n1f\r\nAAAABBBBCCCC\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n",
)
chunked("EXT.TERM: a CR in an extension hides a chunk", "9112 7.1.1", REFUSE, "5;\rhello\r\n0\r\n\r\n")
chunked("nothing behind a chunk", "9112 7.1", REFUSE, "5\r\nhello0\r\n\r\n")
chunked("two other bytes behind a chunk", "9112 7.1", REFUSE, "5\r\nhelloXX0\r\n\r\n")
chunked("CR alone behind a chunk", "9112 7.1", REFUSE, "5\r\nhello\r0\r\n\r\n")
chunked("a chunk longer than its size", "9112 7.1", REFUSE, "5\r\nhello!!\r\n0\r\n\r\n")
chunked("a chunk shorter than its size", "9112 7.1", REFUSE, "7\r\nhello\r\n0\r\n\r\n", half_close=True, follow=False)
chunked("no last chunk", "9112 8", REFUSE, "5\r\nhello\r\n", half_close=True, follow=False)
chunked("no end behind the last chunk", "9112 8", REFUSE, "5\r\nhello\r\n0\r\n", half_close=True, follow=False)
chunked("an extension of 64 KiB", "9112 7.1.1", REFUSE, f"5;a={'b' * 65536}\r\nhello\r\n0\r\n\r\n")
chunked("sixty thousand small extensions", "9112 7.1.1", REFUSE, "1;a\r\nx\r\n" * 60000 + "0\r\n\r\n")
chunked("an empty line in front of a chunk", "9112 7.1", REFUSE, "\r\n5\r\nhello\r\n0\r\n\r\n")

# === trailers ===

chunked("a trailer", "9112 7.1.2", FORWARD, "5\r\nhello\r\n0\r\nX-Sum: abc\r\n\r\n")
PROBES[-1].trailers = {"x-sum": "abc"}
for line in (
    "Content-Length: 50",
    "Transfer-Encoding: chunked",
    "Host: other",
    "Authorization: Bearer a",
    "Content-Type: a/b",
    "Connection: close",
    "Trailer: x",
    "Expect: 100-continue",
    "Proxy-Authorization: Basic eDp5",
    "Set-Cookie: a=b",
):
    chunked(f"the trailer {line.split(':')[0]}", "9110 6.5.1", EITHER, f"5\r\nhello\r\n0\r\n{line}\r\n\r\n")
for what, lines in (
    ("LF alone behind a trailer", "X-A: b\n\r\n"),
    ("LF alone as the end of trailers", "X-A: b\r\n\n"),
):
    chunked(what, "9112 2.2", EITHER, f"5\r\nhello\r\n0\r\n{lines}")
for what, lines in (
    ("a bare CR in a trailer", "X-A: b\rc\r\n\r\n"),
    ("a NUL in a trailer", "X-A: b\0c\r\n\r\n"),
    ("a trailer without a colon", "nothing\r\n\r\n"),
    ("a space before a trailer's colon", "X-A : b\r\n\r\n"),
    ("a trailer without a name", ": b\r\n\r\n"),
    ("a space in a trailer's name", "X A: b\r\n\r\n"),
    ("a request for a trailer", "GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n"),
    ("a hundred and one trailers", "".join(f"X-{i}: b\r\n" for i in range(101)) + "\r\n"),
    ("trailers beyond the limit", f"X-A: {'b' * 70000}\r\n\r\n"),
):
    chunked(what, "9112 7.1.2", REFUSE, f"5\r\nhello\r\n0\r\n{lines}")
chunked("a folded trailer", "9112 5.2", EITHER, "5\r\nhello\r\n0\r\nX-A: b\r\n c\r\n\r\n")

# === expectations and upgrades ===

post("100-continue, and the body at once", "9110 10.1.1", FORWARD, "Content-Length: 5\r\nExpect: 100-continue\r\n")
PROBES[-1].fields = {"expect": None}
post("100-continue in capitals", "9110 10.1.1", FORWARD, "Content-Length: 5\r\nExpect: 100-CONTINUE\r\n")
get("100-continue without a body", "9110 10.1.1", FORWARD, fields="Expect: 100-continue\r\n")
for value in ("200-ok", "a-miracle", "100-continue, x", "100-continue; a", ""):
    get(f"Expect {value!r}", "9110 10.1.1", EITHER, fields=f"Expect: {value}\r\n")
get("an upgrade nobody knows", "9110 7.8", EITHER, fields="Connection: Upgrade\r\nUpgrade: made-up/1.0\r\n")
probe(
    "a POST that would upgrade",
    "9110 7.8",
    EITHER,
    f"POST {{t}} HTTP/1.1\r\n{HOST}Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\nhello",
)
get(
    "an upgrade in HTTP/1.0",
    "9110 7.8",
    EITHER,
    "GET {t} HTTP/1.0",
    fields="Connection: Upgrade\r\nUpgrade: websocket\r\n",
    follow=False,
)
PROBES[-1].fields = {"upgrade": None}

# === what is no request ===

for what, text in (
    ("noise", "".join(chr((i * 2654435761 >> 24) & 255) for i in range(2000))),
    ("zeros", "\0" * 2000),
    ("a TLS hello", "\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03" + "\0" * 300),
    ("SSLv2", "\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10"),
    ("SSH", "SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    ("SMTP", "EHLO test\r\n\r\n"),
    ("JSON", '{"a": 1}\r\n\r\n'),
    ("an answer", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("a PROXY line", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n"),
    ("a preface that is none", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"),
    ("SOCKS", "\x05\x01\x00"),
):
    probe(f"{what} for a request", "9112 2.2", REFUSE, text, half_close=True, follow=False)
probe("half a head", "9112 8", REFUSE, "GET {t} HTTP/1.1\r\nHost: te", half_close=True, follow=False)
probe("nothing", "9112 8", REFUSE, "", half_close=True, follow=False)
