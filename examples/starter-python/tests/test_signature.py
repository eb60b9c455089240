import pytest

from chat.signature import TOLERANCE, InvalidSignatureError, sign, verify

from .conftest import SECRET, Backend

NOW = 1_700_000_000.0
BODY = b'{"event":"say"}'


def headers(**changes: str) -> dict[str, str]:
    timestamp = str(int(NOW))
    signed = {
        "webhook-id": "msg-1",
        "webhook-timestamp": timestamp,
        "webhook-signature": sign(SECRET, "msg-1", timestamp, BODY),
    }
    return signed | {name.replace("_", "-"): value for name, value in changes.items()}


def test_signature_is_that_of_the_standard() -> None:
    # The example of https://github.com/standard-webhooks/standard-webhooks, computed by other means.
    assert sign(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}'
    ) == ("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")


def test_valid_signature_is_accepted() -> None:
    verify(SECRET, headers(), BODY, NOW)


def test_one_of_two_signatures_is_enough() -> None:
    signature = headers()["webhook-signature"]
    verify(SECRET, headers(webhook_signature=f"v1,AAAA {signature}"), BODY, NOW)


@pytest.mark.parametrize("signature", ["", "v1,", "v1,AAAA", "é", "v2," + "A" * 44])
def test_wrong_signature_is_refused(signature: str) -> None:
    with pytest.raises(InvalidSignatureError, match="no signature is valid"):
        verify(SECRET, headers(webhook_signature=signature), BODY, NOW)


def test_changed_body_id_or_time_is_refused() -> None:
    for body, changes in [
        (BODY + b" ", {}),
        (BODY, {"webhook_id": "msg-2"}),
        (BODY, {"webhook_timestamp": str(int(NOW) + 1)}),
    ]:
        with pytest.raises(InvalidSignatureError, match="no signature is valid"):
            verify(SECRET, headers(**changes), body, NOW)


def test_other_secret_is_refused() -> None:
    with pytest.raises(InvalidSignatureError, match="no signature is valid"):
        verify("whsec_" + "b3RoZXIh" * 4, headers(), BODY, NOW)


@pytest.mark.parametrize("age", [TOLERANCE + 1, -TOLERANCE - 1])
def test_old_and_future_requests_are_refused(age: int) -> None:
    verify(SECRET, headers(), BODY, NOW + age / 2)
    with pytest.raises(InvalidSignatureError, match="s old"):
        verify(SECRET, headers(), BODY, NOW + age)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_missing_header_is_refused(name: str) -> None:
    incomplete = {key: value for key, value in headers().items() if key != name}
    with pytest.raises(InvalidSignatureError, match="missing or malformed"):
        verify(SECRET, incomplete, BODY, NOW)


def test_time_that_is_no_number_is_refused() -> None:
    with pytest.raises(InvalidSignatureError, match="missing or malformed"):
        verify(SECRET, headers(webhook_timestamp="now"), BODY, NOW)


def test_route_refuses_unsigned_requests(backend: Backend) -> None:
    body = {"auth": {"token": backend.token()}}
    assert backend.webhook("connect", body).status_code == 200
    assert backend.webhook("connect", body, **{"webhook-signature": "v1,AAAA"}).status_code == 401
    assert backend.webhook("connect", body, **{"webhook-timestamp": "1614265330"}).status_code == 401
    assert backend.http.post("/socketio", json=body).status_code == 401


def test_route_refuses_long_bodies(backend: Backend) -> None:
    assert backend.webhook("connect", {"auth": "x" * 2_000_001}).status_code == 413
