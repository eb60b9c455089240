//! The page, the health and the metrics.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use sociable::{Health, MetricsFormat, Server};

use crate::namespaces::Demo;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// The page loads nothing from elsewhere, and runs no script in its markup. The policy enforces both.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The default path in the page. The path of this node replaces it.
const PATH_IN_PAGE: &str = r#"content="/socket.io/""#;

/// The default namespace in the page. The namespace of the demonstration replaces it.
const NAMESPACE_IN_PAGE: &str = r#"content="/""#;

/// The page with its parts, and the health.
#[derive(Clone)]
pub(crate) struct Page {
    /// None without the demonstration.
    index: Option<Bytes>,
    io: Server,
    name: String,
}

impl Page {
    /// Returns the page of the node of this name, with the Socket.IO endpoint under this path. Without a demonstration there is no page.
    pub(crate) fn new(path: &str, demo: &Demo, io: Server, name: String) -> Self {
        Self { index: demo.namespace().map(|namespace| index(path, namespace)), io, name }
    }

    /// Adds the routes of the page and of the health.
    pub(crate) fn routes(&self, app: &mut web::ServiceConfig) {
        if let Some(index) = &self.index {
            add(app, "/", HTML, index.clone());
            add(app, "/style.css", CSS, include_str!("../page/style.css"));
            add(app, "/client.js", JAVASCRIPT, include_str!("../page/client.js"));
            add(app, "/chat.js", JAVASCRIPT, include_str!("../page/chat.js"));
        }
        self.health_routes(app);
    }

    /// Adds the routes of the health: `/healthz` and `/readyz`.
    pub(crate) fn health_routes(&self, app: &mut web::ServiceConfig) {
        ask(app, "/healthz", &self.io, health(&self.name));
        ask(app, "/readyz", &self.io, readiness);
    }

    /// Adds the route of the metrics.
    pub(crate) fn metrics_route(&self, app: &mut web::ServiceConfig) {
        let io = self.io.clone();
        let metrics = move |request: HttpRequest| {
            let io = io.clone();
            async move {
                let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
                let format = MetricsFormat::negotiate(accept);
                HttpResponse::Ok().content_type(format.content_type()).body(format.render(io.metrics().await))
            }
        };
        app.route("/metrics", web::get().to(metrics));
    }

    /// Adds the route of the actors.
    pub(crate) fn actors_route(&self, app: &mut web::ServiceConfig) {
        let io = self.io.clone();
        let actors = move || {
            let io = io.clone();
            async move { HttpResponse::Ok().json(io.actors().await) }
        };
        app.route("/actors", web::get().to(actors));
    }
}

fn index(path: &str, namespace: &str) -> Bytes {
    let index = include_str!("../page/index.html");
    let slash = if path.ends_with('/') { "" } else { "/" };
    let index = index.replace(NAMESPACE_IN_PAGE, &format!(r#"content="{}""#, escaped(namespace)));
    index.replace(PATH_IN_PAGE, &format!(r#"content="{}{slash}""#, escaped(path))).into()
}

/// Returns a text for an attribute of the page.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;")
}

/// Returns the answer to `/healthz`: the report that balancers poll.
fn health(name: &str) -> impl Fn(&Server) -> HttpResponse + Clone + 'static {
    let name = name.to_owned();
    move |io| HttpResponse::Ok().json(Health { name: name.clone(), ..io.health() })
}

/// Returns the answer to `/readyz`. A node is not ready while it drains, is cut off from the others, or can't persist events. Its own
/// clients are served all the same.
fn readiness(io: &Server) -> HttpResponse {
    match io.health() {
        Health { draining: true, .. } => HttpResponse::ServiceUnavailable().body("the node is draining"),
        Health { cut_off: true, .. } => HttpResponse::ServiceUnavailable().body("the node is cut off from the cluster"),
        Health { store_refuses: true, .. } => HttpResponse::ServiceUnavailable().body("JetStream refuses to store events"),
        _ => HttpResponse::Ok().body("ready"),
    }
}

/// Adds a route whose answer is made for each request.
fn ask(app: &mut web::ServiceConfig, path: &str, io: &Server, answer: impl Fn(&Server) -> HttpResponse + Clone + 'static) {
    let io = io.clone();
    let answer = move || std::future::ready(answer(&io));
    app.service(web::resource(path).route(web::get().to(answer.clone())).route(web::head().to(answer)));
}

fn add(app: &mut web::ServiceConfig, path: &str, kind: &'static str, body: impl Into<Bytes>) {
    let body = body.into();
    let answer = move || {
        let response = HttpResponse::Ok()
            .content_type(kind)
            .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
            .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .insert_header((header::REFERRER_POLICY, "no-referrer"))
            // A new version of the node has a new page.
            .insert_header((header::CACHE_CONTROL, "no-cache"))
            .body(body.clone());
        async { response }
    };
    app.service(web::resource(path).route(web::get().to(answer.clone())).route(web::head().to(answer)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_escapes_the_path_and_the_namespace() {
        let index = |path, namespace| String::from_utf8(index(path, namespace).to_vec()).unwrap();
        assert_eq!(index("/socket.io", "/"), include_str!("../page/index.html"));
        assert!(index("/live/", "/").contains(r#"content="/live/""#));
        assert!(index(r#"/"><b>&"#, "/").contains(r#"content="/&quot;>&lt;b>&amp;/""#));
        assert!(!index("/live", "/").contains(PATH_IN_PAGE));
        assert!(index("/live", r#"/"><b>&"#).contains(r#"content="/&quot;>&lt;b>&amp;""#));
        assert!(!index("/live", "/demo").contains(NAMESPACE_IN_PAGE));
    }
}
