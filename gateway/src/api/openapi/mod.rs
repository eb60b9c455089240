//! The description of the API as a document of OpenAPI 3.1, made from the types of requests and answers.
//!
//! * `paths.rs`: the operations. `parameters.rs`: their parameters. `responses.rs`: their answers.
//! * `schemas.rs`: the types, with the limits of an API. `examples.rs`: the examples.

mod examples;
mod parameters;
mod paths;
mod responses;
mod schemas;

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, SecurityRequirement, ServerBuilder};

use super::http::PATH;
use super::limits::Limits;

/// The name of the security scheme.
const KEY: &str = "key";

/// The facts that no operation has.
const DESCRIPTION: &str = "The API of a Sociable cluster for backends. Any node answers for the whole cluster.

* Bodies are JSON or MessagePack. `Content-Type` names the format of the body, `Accept` that of the answer.
* A binary value in JSON is an object with the one key `$binary` and Base64: `{\"$binary\":\"AQID\"}`. MessagePack has binary values of its own.
* Each request names its key: `Authorization: Bearer <secret>`. The file of keys sets the scope and the rate of a key.
* An error is a problem (RFC 9457), also in answers to MessagePack. Its `type` is stable.
* Another method than that of a path gets the status 405, a problem `method-not-allowed`, and the header `Allow`.
* A head that is no HTTP gets the status 400, one that is too long 431, and one that is too slow 408. These answers have no body.
";

/// Returns the document for an API with these limits, as JSON.
///
/// ```
/// use sociable_gateway::api::{Limits, openapi};
///
/// let document: serde_json::Value = serde_json::from_str(&openapi::document(&Limits::default()))?;
/// assert_eq!(document["paths"]["/emit"]["post"]["operationId"], "emit");
/// # Ok::<(), serde_json::Error>(())
/// ```
///
/// # Panics
///
/// Never: the document has no value that JSON cannot have.
pub fn document(limits: &Limits) -> String {
    let mut text = openapi(limits).to_pretty_json().expect("the document can be written as JSON");
    text.push('\n');
    text
}

fn openapi(limits: &Limits) -> OpenApi {
    let license = LicenseBuilder::new().name("MIT OR Apache-2.0").identifier(Some("MIT OR Apache-2.0"));
    let info = InfoBuilder::new().title("Sociable API").version("1").description(Some(DESCRIPTION)).license(Some(license.build())).build();
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("The secret of a key from the file of keys."));
    let components = ComponentsBuilder::new().security_scheme(KEY, SecurityScheme::Http(scheme.build()));
    let components = schemas::add(components, limits);
    let (paths, responses) = paths::all(limits);
    OpenApiBuilder::new()
        .info(info)
        .servers(Some([ServerBuilder::new().url(PATH).build()]))
        .paths(paths)
        .components(Some(components.responses_from_iter(responses).build()))
        .security(Some([SecurityRequirement::new::<_, [&str; 0], &str>(KEY, [])]))
        .tags(Some(paths::TAGS.map(|(name, description)| TagBuilder::new().name(name).description(Some(description)).build())))
        .build()
}
