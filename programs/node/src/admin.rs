//! What an operator may ask of the running node, on an address of its own: `GET /metrics`, `GET /healthz`, `GET /readyz`, `GET /actors`,
//! `GET /log`, `PUT /log`.
//!
//! Whoever reaches the address may do all of it. A page of some site can't, even in a browser on this machine: browsers ask before they
//! send a PUT to another origin, and nothing here agrees; and the log is refused under another name than the address. What only tells figures
//! is answered under any name: whoever collects them knows the node by one.

use std::io;
use std::net::SocketAddr;

use actix_web::dev::Server;
use actix_web::guard::{self, GuardContext};
use actix_web::http::header;
use actix_web::{App, HttpResponse, HttpServer, web};
use sociable_program::log::Filter;

use crate::page::Page;

/// The longest filter that is taken, in bytes.
const MAX_FILTER: usize = 4096;

/// The most connections of operators: these are in the reserve of descriptors.
const MAX_CONNECTIONS: usize = 32;

/// Listens. The addresses are given too: the port may be of the system's choice.
pub(crate) fn bind(address: SocketAddr, filter: Filter, page: &Page) -> io::Result<(Server, Vec<SocketAddr>)> {
    let page = page.clone();
    let app = move || {
        let log = web::resource("/log").route(web::get().to(show)).route(web::put().to(choose));
        let limit = web::PayloadConfig::new(MAX_FILTER);
        App::new().configure(|app| page.health_routes(app)).configure(|app| page.metrics_route(app)).service(
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

/// True for a request that names an address or this machine, not a name that anybody could lead here.
fn by_address(context: &GuardContext<'_>) -> bool {
    let host = context.head().headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    host.parse::<SocketAddr>().is_ok() || host.parse::<std::net::IpAddr>().is_ok() || host.split(':').next() == Some("localhost")
}

/// The filter of the log.
async fn show(filter: web::Data<Filter>) -> String {
    filter.current()
}

/// Has the log let through what the body says.
async fn choose(filter: web::Data<Filter>, body: String) -> HttpResponse {
    if body.trim().is_empty() {
        return HttpResponse::BadRequest().body("an empty filter: to log nothing, say off");
    }
    match filter.choose(body.trim()) {
        Ok(()) => HttpResponse::Ok().body(filter.current()),
        Err(error) => HttpResponse::BadRequest().body(error.to_string()),
    }
}
