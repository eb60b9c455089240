//! The API over HTTP.

use bytes::BytesMut;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};

use crate::answer::Answer;
use crate::call::Call;
use crate::failure::{Failure, cause};

/// The path of the API.
const PATH: &str = "/api/v1";

/// The longest answer.
const MAX_ANSWER: usize = 256 << 20;

/// Sends a request to the API at this address.
pub(crate) async fn send(api: &str, key: &str, call: &Call) -> Result<Answer, Failure> {
    drop(rustls::crypto::ring::default_provider().install_default());
    // A redirection would have the key sent elsewhere.
    let mut builder = Client::builder().redirect(Policy::none()).no_proxy().timeout(call.timeout);
    if !api.starts_with("https:") {
        // The roots of the system are not read, as there may be none.
        builder = builder.tls_certs_only([]);
    }
    let client = builder.build().map_err(|error| Failure::Failed(format!("cannot speak TLS: {}", cause(&error))))?;
    let address = format!("{}{PATH}/{}", base(api), call.operation);
    let request = if call.is_read {
        client.get(format!("{address}?{}", call.query()))
    } else {
        client.post(address).header(CONTENT_TYPE, "application/json").body(call.body())
    };
    let mut request = request.header(AUTHORIZATION, format!("Bearer {key}"));
    if let Some(key) = &call.idempotency_key {
        request = request.header("idempotency-key", key);
    }
    let response = request.send().await.map_err(|error| failed(api, &error))?;
    let status = response.status().as_u16();
    let is_later = response.headers().contains_key(RETRY_AFTER);
    Ok(Answer { status, is_later, body: body(api, response).await?.freeze() })
}

/// Returns an address without the path of the API, which may stand behind it.
fn base(api: &str) -> &str {
    let api = api.trim_end_matches('/');
    api.strip_suffix(PATH).unwrap_or(api)
}

async fn body(api: &str, mut response: Response) -> Result<BytesMut, Failure> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failed(api, &error))? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(Failure::Failed(format!("the answer is longer than {MAX_ANSWER} bytes: ask for less")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn failed(api: &str, error: &reqwest::Error) -> Failure {
    if error.is_builder() {
        return Failure::Usage(format!("wrong address of the API: {}; write http://HOST:PORT", cause(error)));
    }
    let shown = reqwest::Url::parse(api).ok().and_then(|url| Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?)));
    let shown = shown.as_deref().unwrap_or("its address");
    let text = if error.is_timeout() { "no answer in time".into() } else { cause(error) };
    Failure::Later(format!("cannot reach the API at {shown}: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_may_have_the_path_of_the_api() {
        for address in ["http://a:1", "http://a:1/", "http://a:1/api/v1", "http://a:1/api/v1/"] {
            assert_eq!(base(address), "http://a:1");
        }
        assert_eq!(base("http://a:1/behind/api/v1"), "http://a:1/behind");
    }
}
