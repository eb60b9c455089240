//! The document of the API, and a page to read it and to try requests. Both need no key.

use std::future::ready;

use actix_web::http::header;
use actix_web::{HttpResponse, Resource, web};
use bytes::Bytes;

use super::Api;
use super::format::Format;
use super::http::{PATH, other_method};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// The page loads nothing from elsewhere, and runs no script in its markup. The policy enforces both.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Returns the resources of the document and of the page.
pub(super) fn resources(api: &Api) -> [Resource; 5] {
    let api = api.clone();
    let to_page = || {
        let moved = HttpResponse::PermanentRedirect().insert_header((header::LOCATION, format!("{PATH}/"))).finish();
        ready(moved)
    };
    [
        resource("/openapi.json", Format::Json.content_type(), move || api.document()),
        resource("/", HTML, || Bytes::from_static(include_bytes!("../../page/index.html"))),
        resource("/page.css", CSS, || Bytes::from_static(include_bytes!("../../page/page.css"))),
        resource("/page.js", JAVASCRIPT, || Bytes::from_static(include_bytes!("../../page/page.js"))),
        web::resource("").route(web::get().to(to_page)).default_service(web::to(other_method("page", "GET"))),
    ]
}

fn resource(path: &str, kind: &'static str, body: impl Fn() -> Bytes + Clone + 'static) -> Resource {
    let answer = move || {
        let response = HttpResponse::Ok()
            .content_type(kind)
            .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
            .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .insert_header((header::REFERRER_POLICY, "no-referrer"))
            // A new version has a new page.
            .insert_header((header::CACHE_CONTROL, "no-cache"))
            .body(body());
        ready(response)
    };
    let other = other_method("page", "GET, HEAD");
    web::resource(path).route(web::get().to(answer.clone())).route(web::head().to(answer)).default_service(web::to(other))
}
