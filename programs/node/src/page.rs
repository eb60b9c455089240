//! The page, and what asks whether the node is well.

use actix_web::http::header;
use actix_web::{HttpResponse, web};
use bytes::Bytes;
use sociable::{Health, METRICS_TYPE, Server};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// The page needs nothing from elsewhere, and nothing that stands in the markup itself is run: this makes sure of both.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The default in the page, which the path of this node takes the place of.
const PATH_IN_PAGE: &str = r#"content="/socket.io/""#;

/// The page with its parts.
#[derive(Clone)]
pub(crate) struct Page {
    index: Bytes,
    io: Server,
    name: String,
}

impl Page {
    /// A page of the node of this name that finds the Socket.IO endpoint under this path.
    pub(crate) fn new(path: &str, io: Server, name: String) -> Self {
        Self { index: index(path), io, name }
    }

    /// Adds the routes.
    pub(crate) fn routes(&self, app: &mut web::ServiceConfig) {
        add(app, "/", HTML, self.index.clone());
        add(app, "/style.css", CSS, include_str!("../page/style.css"));
        add(app, "/client.js", JAVASCRIPT, include_str!("../page/client.js"));
        add(app, "/chat.js", JAVASCRIPT, include_str!("../page/chat.js"));
        self.health_routes(app);
    }

    /// Adds those by which it is asked how the node is.
    pub(crate) fn health_routes(&self, app: &mut web::ServiceConfig) {
        ask(app, "/healthz", &self.io, health(&self.name));
        ask(app, "/readyz", &self.io, readiness);
    }

    /// Adds that of the metrics.
    pub(crate) fn metrics_route(&self, app: &mut web::ServiceConfig) {
        let io = self.io.clone();
        let metrics = move || {
            let io = io.clone();
            async move { HttpResponse::Ok().content_type(METRICS_TYPE).body(io.metrics().await) }
        };
        app.route("/metrics", web::get().to(metrics));
    }

    /// Adds that of the actors.
    pub(crate) fn actors_route(&self, app: &mut web::ServiceConfig) {
        let io = self.io.clone();
        let actors = move || {
            let io = io.clone();
            async move { HttpResponse::Ok().json(io.actors().await) }
        };
        app.route("/actors", web::get().to(actors));
    }
}

fn index(path: &str) -> Bytes {
    let index = include_str!("../page/index.html");
    let path = path.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
    let slash = if path.ends_with('/') { "" } else { "/" };
    index.replace(PATH_IN_PAGE, &format!(r#"content="{path}{slash}""#)).into()
}

/// How the node is, for as long as it lives.
fn health(name: &str) -> impl Fn(&Server) -> HttpResponse + Clone + 'static {
    let name = name.to_owned();
    move |io| HttpResponse::Ok().json(Health { name: name.clone(), ..io.health() })
}

/// Whether new clients should come here: not while the node is going, or cut off from the others, or can't keep what clients miss. Those that it has are served all the same.
fn readiness(io: &Server) -> HttpResponse {
    match io.health() {
        Health { draining: true, .. } => HttpResponse::ServiceUnavailable().body("the node is going"),
        Health { cut_off: true, .. } => HttpResponse::ServiceUnavailable().body("the other nodes can't be reached"),
        Health { store_refuses: true, .. } => HttpResponse::ServiceUnavailable().body("the shared store takes nothing"),
        _ => HttpResponse::Ok().body("ready"),
    }
}

/// What is answered anew each time.
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
            // A new version of the node brings a new page.
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
    fn the_page_learns_the_path_and_can_not_be_broken_by_it() {
        let index = |path| String::from_utf8(index(path).to_vec()).unwrap();
        assert_eq!(index("/socket.io"), include_str!("../page/index.html"));
        assert!(index("/live/").contains(r#"content="/live/""#));
        assert!(index(r#"/"><b>&"#).contains(r#"content="/&quot;>&lt;b>&amp;/""#));
        assert!(!index("/live").contains(PATH_IN_PAGE));
    }
}
