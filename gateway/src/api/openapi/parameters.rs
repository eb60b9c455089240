//! The parameters of the operations.

use serde_json::json;
use utoipa::PartialSchema;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn, ParameterStyle};
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::{RefOr, Required};

use super::schemas;
use crate::api::limits::Limits;
use crate::api::model::{Count, Info, Rooms, Sockets};
use crate::api::repetition::IDEMPOTENCY_KEY;
use crate::api::routes::Route;

/// Returns the parameters of an operation.
pub(super) fn of(route: Route, limits: &Limits) -> Vec<Parameter> {
    let request = match route {
        Route::Sockets => Sockets::schema(),
        Route::Rooms => Rooms::schema(),
        Route::Count => Count::schema(),
        Route::Info => Info::schema(),
        Route::Emit | Route::EmitWithAck | Route::Join | Route::Leave | Route::Disconnect | Route::Batch => {
            return vec![idempotency_key(limits)];
        }
    };
    let RefOr::T(Schema::Object(mut request)) = request else { return vec![] };
    schemas::refine_request(&mut request, limits);
    request.properties.into_iter().map(|(name, schema)| in_query(name, schema)).collect()
}

/// Returns the member of a request as a parameter of a query. A list is a parameter that is repeated.
fn in_query(name: String, mut schema: RefOr<Schema>) -> Parameter {
    let description = match &mut schema {
        RefOr::T(Schema::Object(object)) => object.description.take(),
        RefOr::T(Schema::Array(array)) => array.description.take(),
        _ => None,
    };
    let is_list = matches!(schema, RefOr::T(Schema::Array(_)));
    let name = if name == "rooms" { "room".to_owned() } else { name };
    let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Query).required(Required::False);
    let parameter = parameter.description(description).schema(Some(schema));
    if is_list { parameter.style(Some(ParameterStyle::Form)).explode(Some(true)).build() } else { parameter.build() }
}

fn idempotency_key(limits: &Limits) -> Parameter {
    let most = limits.max_idempotency_key;
    let schema = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(most))
        // Two quotes alone are an empty structured field.
        .pattern(Some(r#"^(?!""$)[!-~](?:[ -~]*[!-~])?$"#));
    ParameterBuilder::new()
        .name(IDEMPOTENCY_KEY)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("A key that the client draws for a request, and sends again with each repetition. The request then runs once."))
        .schema(Some(schema))
        .example(Some(json!("order-7-paid")))
        .build()
}
