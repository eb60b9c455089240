//! One request to a backend.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, StatusCode, redirect};

use super::cloudevent::{Attributes, BATCH, JSON};
use super::endpoint::Endpoint;
use super::settings::Settings;
use super::shared::Shared;
use super::signature::seconds;

/// The time after which an unused connection is closed. Several backends close theirs after 5 s, and a request could meet the close.
const POOL_IDLE: Duration = Duration::from_secs(4);

/// The name of the program in requests.
const USER_AGENT: &str = concat!("sociable/", env!("CARGO_PKG_VERSION"));

/// A webhook as a request: with the same id for each attempt.
pub(super) struct Message<'a> {
    pub(super) id: &'a str,
    /// The attributes of a single event. A batch has none.
    pub(super) attributes: Option<&'a Attributes>,
    /// Returns the body. Each attempt makes its request anew, so that a waiting webhook holds none beside its content.
    pub(super) body: &'a (dyn Fn() -> Bytes + Sync),
}

/// The result of a request.
#[derive(Debug)]
pub(super) enum Attempt {
    /// The status is a success. The body is as long as is allowed.
    Answered(Bytes),
    /// The status is 401 or 403.
    Denied(StatusCode, Bytes),
    /// The status is another one. The time is that of `Retry-After`.
    Status(StatusCode, Option<Duration>),
    Timeout,
    /// The connection failed. The text has no address and no content.
    Connection(&'static str),
    /// The answer is too long.
    TooLong,
}

impl Attempt {
    /// Returns the cause of a failure, without an address and content.
    pub(super) fn cause(&self) -> Cow<'static, str> {
        match self {
            Self::Answered(_) => "answer not understood".into(),
            Self::Denied(status, _) | Self::Status(status, _) => format!("status {}", status.as_u16()).into(),
            Self::Timeout => "no answer in time".into(),
            Self::Connection(cause) => (*cause).into(),
            Self::TooLong => "answer too long".into(),
        }
    }
}

/// Returns a client. It follows no redirect, and uses no proxy of the environment.
pub(super) fn client(settings: &Settings, with_tls: bool) -> reqwest::Result<Client> {
    // Another part of the program may have chosen a provider. Any will do.
    drop(rustls::crypto::ring::default_provider().install_default());
    let builder = Client::builder()
        .user_agent(USER_AGENT)
        .no_proxy()
        .redirect(redirect::Policy::none())
        .referer(false)
        .connect_timeout(settings.timeout)
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(settings.concurrency);
    // The roots of the system are read for TLS alone, as there may be none.
    if with_tls { builder.build() } else { builder.tls_certs_only([]).build() }
}

/// Sends a request, and reads the answer up to its limit.
pub(super) async fn post(client: &Client, shared: &Shared, endpoint: &Endpoint, message: &Message<'_>, time: Duration) -> Attempt {
    match tokio::time::timeout(time, try_post(client, shared, endpoint, message)).await {
        Ok(attempt) => attempt,
        Err(_) => Attempt::Timeout,
    }
}

async fn try_post(client: &Client, shared: &Shared, endpoint: &Endpoint, message: &Message<'_>) -> Attempt {
    let limit = shared.settings.answer_bytes;
    let timestamp = seconds(SystemTime::now());
    let kind = if message.attributes.is_some() { JSON } else { BATCH };
    let mut request = client.post(endpoint.url.url().clone()).header(CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Some(attributes) = message.attributes {
        request = request.headers(attributes.headers(&shared.source));
    }
    request = request.header("webhook-id", message.id).header("webhook-timestamp", timestamp);
    let body = (message.body)();
    if let Some(signature) = shared.signer.sign(message.id, timestamp, &body) {
        request = request.header("webhook-signature", signature);
    }
    let mut response = match request.body(body).send().await {
        Ok(response) => response,
        Err(error) => return failed(&error),
    };
    let status = response.status();
    if !status.is_success() && !is_denial(status) {
        return Attempt::Status(status, retry_after(response.headers()));
    }
    if response.content_length().is_some_and(|length| length > limit as u64) {
        return Attempt::TooLong;
    }
    let mut body = BytesMut::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > limit => return Attempt::TooLong,
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) if is_denial(status) => return Attempt::Denied(status, body.freeze()),
            Ok(None) => return Attempt::Answered(body.freeze()),
            Err(error) => return failed(&error),
        }
    }
}

fn is_denial(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

fn failed(error: &reqwest::Error) -> Attempt {
    Attempt::Connection(match error {
        error if error.is_timeout() => return Attempt::Timeout,
        error if error.is_connect() => "cannot connect",
        error if error.is_body() || error.is_decode() => "answer incomplete",
        _ => "no HTTP answer",
    })
}

/// Returns the pause that the backend asks for, in seconds or as a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse::<u32>() {
        Ok(seconds) => Some(Duration::from_secs(seconds.into())),
        Err(_) => httpdate::parse_http_date(text).ok().map(|date| date.duration_since(SystemTime::now()).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_is_read_from_seconds_or_a_date() {
        let read = |text: &str| retry_after(&HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).unwrap())]));
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read("Fri, 31 Dec 1999 23:59:59 GMT"), Some(Duration::ZERO));
        let later = read(&httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100))).unwrap();
        assert!((90..=100).contains(&later.as_secs()), "{later:?}");
        assert_eq!((read("soon"), read("-1"), retry_after(&HeaderMap::new())), (None, None, None));
    }
}
