//! The page, without files from elsewhere. Its Socket.IO client is that of the page of `sociable-node`.

use actix_web::http::header::ContentType;
use actix_web::{HttpResponse, mime, web};

pub(crate) fn page(app: &mut web::ServiceConfig) {
    let index = || async { HttpResponse::Ok().content_type(ContentType::html()).body(include_str!("page.html")) };
    let client = || async {
        let script = include_str!("../../../programs/node/page/client.js");
        HttpResponse::Ok().content_type(ContentType(mime::APPLICATION_JAVASCRIPT_UTF_8)).body(script)
    };
    app.route("/", web::get().to(index)).route("/client.js", web::get().to(client));
}
