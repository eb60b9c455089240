//! The administration, on an address of its own: `GET /metrics`, `GET /healthz`, `GET /readyz`, `GET /actors`, `GET /log`, `PUT /log`.
//!
//! The address has no authentication. Pages of other sites can't use it from a browser on this machine: a PUT to another origin needs a
//! preflight, which is refused. `/log` and `/actors` are refused under a host name, which DNS rebinding would need. Metrics and health are
//! served under any name, since collectors and probes use one.

use std::io;
use std::net::SocketAddr;

use actix_web::dev::Server;
use actix_web::guard::{self, GuardContext};
use actix_web::http::header;
use actix_web::{App, HttpResponse, HttpServer, web};
use sociable_program::log::Filter;

use crate::liveness::Liveness;
use crate::page::Page;

/// The longest filter, in bytes.
const MAX_FILTER: usize = 4096;

/// The most connections of operators. They are part of the reserve of descriptors.
const MAX_CONNECTIONS: usize = 32;

/// Listens. Returns the server and its addresses, which show a port that the system chose.
pub(crate) fn bind(address: SocketAddr, filter: Filter, page: &Page, liveness: &Liveness) -> io::Result<(Server, Vec<SocketAddr>)> {
    let (page, liveness) = (page.clone(), liveness.clone());
    let app = move || {
        let log = web::resource("/log").route(web::get().to(show)).route(web::put().to(choose));
        let limit = web::PayloadConfig::new(MAX_FILTER);
        let blocked = web::resource("/healthz").guard(guard::fn_guard({
            let liveness = liveness.clone();
            move |_| liveness.blocked_for().is_some()
        }));
        let liveness = liveness.clone();
        let blocked = blocked.to(move || std::future::ready(show_blocked(&liveness)));
        App::new().service(blocked).configure(|app| page.health_routes(app)).configure(|app| page.metrics_route(app)).service(
            web::scope("")
                .guard(guard::fn_guard(by_address))
                .app_data(web::Data::new(filter.clone()))
                .app_data(limit)
                .service(log)
                .configure(|app| page.actors_route(app)),
        )
    };
    let server = HttpServer::new(app).workers(1).max_connections(MAX_CONNECTIONS).disable_signals().bind(address)?;
    let addresses = server.addrs();
    Ok((server.run(), addresses))
}

/// Returns whether a request names an address or `localhost`. DNS can lead any other name here.
fn by_address(context: &GuardContext<'_>) -> bool {
    let host = context.head().headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    host.parse::<SocketAddr>().is_ok() || host.parse::<std::net::IpAddr>().is_ok() || host.split(':').next() == Some("localhost")
}

/// Returns the answer to `/healthz` while a worker is blocked.
fn show_blocked(liveness: &Liveness) -> HttpResponse {
    let seconds = liveness.blocked_for().unwrap_or_default().as_secs();
    tracing::error!(seconds, "worker blocked; liveness fails");
    HttpResponse::ServiceUnavailable().body(format!("a worker has been blocked for {seconds} s: restart the node"))
}

/// Returns the filter of the log.
async fn show(filter: web::Data<Filter>) -> String {
    filter.current()
}

/// Sets the filter of the log.
async fn choose(filter: web::Data<Filter>, body: String) -> HttpResponse {
    if body.trim().is_empty() {
        return HttpResponse::BadRequest().body("the filter is empty: send `off` to log nothing");
    }
    match filter.choose(body.trim()) {
        Ok(()) => HttpResponse::Ok().body(filter.current()),
        Err(error) => HttpResponse::BadRequest().body(error.to_string()),
    }
}
