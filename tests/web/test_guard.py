"""Who may ask, and what is told instead of being ignored: none of these requests comes as far as a picture."""

import pytest

pytest.importorskip("fastapi")

from starlette.testclient import TestClient

from nedr.errors import UsageError
from nedr.web.app import application
from nedr.web.limits import Limits


def visitor(**options):
    return TestClient(application(**options), "http://localhost:8000")


@pytest.fixture(scope="module")
def client():
    return visitor(hosts=["photos.example"])


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("localhost:8000", True),
        ("127.0.0.1:8000", True),
        ("[::1]:8000", True),
        ("192.168.1.7", True),
        ("photos.example", True),
        ("PHOTOS.example:443", True),
        ("evil.example:8000", False),
        ("photos.example.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
        ("a b:c:d", False),
    ],
)
def test_a_name_that_is_not_the_servers_reads_nothing(client, host, known):
    for path in ("/", "/metrics", "/healthz"):
        assert client.get(path, headers={"Host": host}).status_code == (200 if known else 421)


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({}, True),
        ({"Origin": "http://localhost:8000"}, True),
        ({"Origin": "https://localhost:8000"}, True),
        ({"Origin": "https://named.example"}, True),
        ({"Origin": "http://localhost:9999"}, False),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-origin"}, True),
    ],
)
def test_pages_of_other_servers_start_no_work(headers, passes):
    answer = visitor(origins=["https://named.example"]).post("/v1/dehaze", headers=headers)
    assert answer.status_code == (400 if passes else 403)  # 400: it came as far as its empty body


def test_a_browser_that_asks_about_the_private_network_is_answered():
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Private-Network": "true"}
    client = visitor(origins=["https://named.example"])
    named = client.options("/v1/dehaze", headers=asked | {"Origin": "https://named.example"})
    assert named.headers["access-control-allow-private-network"] == "true"
    other = client.options("/v1/dehaze", headers=asked | {"Origin": "https://evil.example"})
    assert other.status_code == 400
    assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize(
    ("call", "named"),
    [
        ("POST /v1/dehaze?strenght=0.5", "'strength'"),
        ("POST /v1/dehaze?colour=red", "expected one of: format, map, quality"),
        ("POST /v1/dehaze?strength=1&strength=0", "strength is given twice"),
        ("POST /v1/dehaze?quality=50&format=png", "png is lossless and has no quality"),
        ("POST /v1/dehaze?map=depth&strength=1", "takes no strength"),
        ("POST /v1/dehaze?region=1,2,3", "region"),
        ("POST /v1/field?quality=50", "'quality'"),
        ("GET /healthz?full=1", "'full'"),
        ("GET /metrics?name=x", "'name'"),
    ],
)
def test_what_is_not_known_is_told_with_the_nearest_name(client, call, named):
    method, path = call.split()
    answer = client.request(method, path)
    assert answer.status_code == 422
    assert named in answer.json()["error"]
    assert answer.json()["code"] == "parameter"


def test_every_get_has_a_head(client):
    for path in ("/", "/page.css", "/healthz", "/metrics", "/openapi.json"):
        head = client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"] == client.get(path).headers["content-type"]


def test_a_packed_body_is_refused(client):
    answer = client.post("/v1/dehaze", content=b"x", headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 415
    assert answer.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("sent", "code"),
    [(None, "token_missing"), ("Basic c2VjcmV0", "token_missing"), ("Bearer wrong", "token_wrong")],
)
def test_a_wrong_token_differs_from_a_missing_one(sent, code):
    answer = visitor(token="secret").get("/metrics", headers={"Authorization": sent} if sent else {})
    assert answer.status_code == 401
    assert answer.json()["code"] == code


def test_the_tokens_scheme_is_written_in_any_case():
    assert visitor(token="secret").get("/metrics", headers={"Authorization": "bEARER secret"}).status_code == 200


@pytest.mark.parametrize("token", ["geheimnisträger", "two words", ""])
def test_a_token_that_no_header_can_hold_is_refused_at_the_start(token):
    with pytest.raises(UsageError, match="visible ASCII"):
        application(token=token)


def test_the_description_says_how_a_token_is_sent():
    schema = visitor(token="secret").get("/openapi.json").json()
    assert schema["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert schema["paths"]["/v1/dehaze"]["post"]["security"] == [{"token": []}]
    assert schema["paths"]["/healthz"]["get"]["security"] == []


def test_bodies_together_are_bounded():
    answer = visitor(limits=Limits(waiting=1000)).post("/v1/dehaze", content=bytes(2000))
    assert answer.status_code == 429
    assert answer.headers["retry-after"]
