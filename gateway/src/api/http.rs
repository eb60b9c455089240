//! The API over HTTP, as a service for an actix-web `App`.

use std::future::{Ready, ready};

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, Resource, Scope, web};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use super::Api;
use super::exchange::{Head, Reply};
use super::limits::Limits;
use super::page;
use super::problem::{Problem, ProblemKind};
use super::query;
use super::repetition::{IDEMPOTENCY_KEY, REPLAYED};
use super::routes::Route;

/// The path of the API.
pub const PATH: &str = "/api/v1";

impl Api {
    /// Returns the service for an actix-web `App`, under [`PATH`].
    ///
    /// ```
    /// use actix_web::App;
    /// use sociable::Server;
    /// use sociable_gateway::api::{Api, Keys};
    ///
    /// let io = Server::builder().build()?;
    /// let api = Api::builder(&io, Keys::default()).build();
    /// let app = move || App::new().service(io.service()).service(api.service());
    /// # let _ = app();
    /// # Ok::<(), sociable::ConfigError>(())
    /// ```
    pub fn service(&self) -> Scope {
        let routes = Route::ALL.iter().map(|route| self.resource(*route));
        let scope = routes.fold(web::scope(PATH), Scope::service);
        page::resources(self).into_iter().fold(scope, Scope::service).default_service(Self::unknown())
    }

    /// Returns the answer to unknown paths, a problem: the default service of an `App` that has the API alone.
    pub fn unknown() -> actix_web::Route {
        web::to(|| ready(respond(Reply::from(&unknown_path()))))
    }

    fn resource(&self, route: Route) -> Resource {
        let api = self.clone();
        let answer = move |request: HttpRequest, body: web::Payload| {
            let api = api.clone();
            async move { api.over_http(route, &request, body).await }
        };
        let (method, name) = if route.is_read() { (web::get(), "GET") } else { (web::post(), "POST") };
        web::resource(format!("/{route}")).route(method.to(answer)).default_service(web::to(other_method(route.name(), name)))
    }

    async fn over_http(&self, route: Route, request: &HttpRequest, body: web::Payload) -> HttpResponse {
        let admitted = match self.admit(text(request, header::AUTHORIZATION), route) {
            Ok(admitted) => admitted,
            Err(problem) => return respond(Reply::from(&problem)),
        };
        let accept = accept(request);
        let (content_type, idempotency_key) = (text(request, header::CONTENT_TYPE), idempotency_key(request));
        let head = Head { content_type, accept: accept.as_deref(), idempotency_key };
        let reply = if route.is_read() {
            self.answer_query(&admitted, head, query::operation(route, request.query_string())).await
        } else {
            let body = read(request, body, self.limits()).await;
            self.answer(admitted, head, body).await
        };
        respond(reply)
    }
}

/// Returns the handler of requests with other methods than these.
pub(super) fn other_method(of: &'static str, methods: &'static str) -> impl Fn() -> Ready<HttpResponse> + Clone + 'static {
    move || {
        let problem = Problem::new(ProblemKind::MethodNotAllowed, format!("`{of}` has another method: send {methods}"));
        let mut response = respond(Reply::from(&problem));
        response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(methods));
        ready(response)
    }
}

fn unknown_path() -> Problem {
    Problem::new(ProblemKind::NotFound, "the API has no such path: check it, also its version")
}

/// Returns the value of a header that is text.
fn text(request: &HttpRequest, name: header::HeaderName) -> Option<&str> {
    request.headers().get(name)?.to_str().ok()
}

/// Returns the value of `Idempotency-Key`. Empty if there are several.
fn idempotency_key(request: &HttpRequest) -> Option<&[u8]> {
    let mut values = request.headers().get_all(IDEMPOTENCY_KEY);
    let first = values.next()?.as_bytes();
    Some(if values.next().is_none() { first } else { b"" })
}

/// Returns all values of `Accept` as one.
fn accept(request: &HttpRequest) -> Option<String> {
    let values: Vec<_> = request.headers().get_all(header::ACCEPT).filter_map(|value| value.to_str().ok()).collect();
    if values.is_empty() { None } else { Some(values.join(",")) }
}

/// Reads a body within the limits.
async fn read(request: &HttpRequest, body: web::Payload, limits: &Limits) -> Result<Bytes, Problem> {
    let late = |_| {
        let detail = format!("the body did not arrive in {} s: send it faster", limits.body_timeout.as_secs_f32());
        Problem::new(ProblemKind::Timeout, detail)
    };
    tokio::time::timeout(limits.body_timeout, collect(request, body, limits.max_body)).await.map_err(late)?
}

/// Reads a body up to the limit.
async fn collect(request: &HttpRequest, mut body: web::Payload, most: usize) -> Result<Bytes, Problem> {
    let encoding = text(request, header::CONTENT_ENCODING).filter(|encoding| !encoding.eq_ignore_ascii_case("identity"));
    if encoding.is_some() {
        let detail = "the API reads no compressed bodies: leave `Content-Encoding` out";
        return Err(Problem::new(ProblemKind::UnsupportedMediaType, detail).of_parameter("Content-Encoding"));
    }
    let too_large = || Problem::new(ProblemKind::TooLarge, format!("the body is longer than the limit: send at most {most} bytes"));
    let length = text(request, header::CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
    if length.is_some_and(|length| length > most) {
        return Err(too_large());
    }
    let mut bytes = BytesMut::with_capacity(length.unwrap_or_default());
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| Problem::new(ProblemKind::Malformed, format!("the body is incomplete: {error}")))?;
        if bytes.len() + chunk.len() > most {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

fn respond(reply: Reply) -> HttpResponse {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    response.content_type(reply.content_type).insert_header((header::CACHE_CONTROL, "no-store"));
    if let Some(seconds) = reply.retry_after {
        response.insert_header((header::RETRY_AFTER, seconds));
    }
    if reply.is_replayed {
        response.insert_header((REPLAYED, "true"));
    }
    if status == StatusCode::UNAUTHORIZED {
        response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
    }
    response.body(reply.body)
}
