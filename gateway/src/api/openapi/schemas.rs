//! The types of requests and answers, with the limits of an API.

use std::collections::BTreeMap;

use serde_json::json;
use sociable::protocol::packet::RESERVED_EVENTS;
use utoipa::openapi::schema::{Object, ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::openapi::{ComponentsBuilder, RefOr};
use utoipa::{Number, PartialSchema, ToSchema};

use crate::api::exchange::BatchAnswer;
use crate::api::limits::Limits;
use crate::api::model::{
    Answers, Batch, Count, DEFAULT_LIMIT, DEFAULT_TIMEOUT_MS, Disconnect, Done, Emit, EmitWithAck, Emitted, Info, Join, Leave, NodeList,
    RoomList, Rooms, SocketCount, SocketList, Sockets,
};
use crate::api::problem::ProblemBody;
use crate::api::routes::Route;

/// The name of the type of problems.
pub(super) const PROBLEM: &str = "Problem";

/// The name of the type of the operations of a batch.
const OPERATION: &str = "Operation";

/// The types of requests that have a query instead of a body.
const QUERIES: [&str; 4] = ["Sockets", "Rooms", "Count", "Info"];

/// Adds the types of all requests and answers.
pub(super) fn add(components: ComponentsBuilder, limits: &Limits) -> ComponentsBuilder {
    let mut found = vec![];
    macro_rules! find {
        ($($type:ty),*) => { $(found.push((<$type>::name().into_owned(), <$type>::schema())); <$type>::schemas(&mut found);)* };
    }
    find!(Emit, EmitWithAck, Join, Leave, Disconnect, Batch);
    find!(Emitted, Answers, Done, SocketList, RoomList, SocketCount, NodeList, BatchAnswer, ProblemBody<'_>);
    let found: BTreeMap<_, _> = found.into_iter().collect();
    let refined = found.into_iter().filter(|(name, _)| !QUERIES.contains(&&**name)).map(|(name, schema)| {
        let mut schema = if name == OPERATION { operation() } else { schema };
        refine(&name, &mut schema, limits);
        (name, schema)
    });
    components.schemas_from_iter(refined)
}

/// Returns the operations of a batch: each is its request with its name.
///
/// A schema that joins both by `allOf` would accept nothing, since a request has no further members.
fn operation() -> RefOr<Schema> {
    let requests = [
        (Route::Emit, Emit::schema()),
        (Route::EmitWithAck, EmitWithAck::schema()),
        (Route::Join, Join::schema()),
        (Route::Leave, Leave::schema()),
        (Route::Disconnect, Disconnect::schema()),
        (Route::Sockets, Sockets::schema()),
        (Route::Rooms, Rooms::schema()),
        (Route::Count, Count::schema()),
        (Route::Info, Info::schema()),
    ];
    let with_name = |(route, request): (Route, RefOr<Schema>)| {
        let RefOr::T(Schema::Object(mut object)) = request else { return request };
        let name = ObjectBuilder::new().schema_type(Type::String).enum_values(Some([route.name()])).build();
        object.properties.insert("operation".to_owned(), name.into());
        object.required.push("operation".to_owned());
        object.title = Some(route.name().to_owned());
        object.into()
    };
    let all = requests.into_iter().map(with_name).fold(OneOfBuilder::new(), OneOfBuilder::item);
    all.description(Some("An operation with its arguments, as a batch has it.")).into()
}

/// Adds the limits to a type.
fn refine(name: &str, schema: &mut RefOr<Schema>, limits: &Limits) {
    match schema {
        RefOr::T(Schema::OneOf(one_of)) if name == OPERATION => {
            for item in &mut one_of.items {
                refine("", item, limits);
            }
        }
        RefOr::T(Schema::Object(object)) if name == "Done" => object.max_properties = Some(0),
        // Requests alone refuse further members.
        RefOr::T(Schema::Object(object)) if object.additional_properties.is_some() => refine_request(object, limits),
        _ => {}
    }
}

pub(super) fn refine_request(request: &mut Object, limits: &Limits) {
    let exclusive = ["volatile", "durable"];
    if exclusive.iter().all(|name| request.properties.contains_key(*name)) {
        let both = json!({"properties": {"volatile": {"const": true}, "durable": {"const": true}}, "required": exclusive});
        request.extensions = Some([("not", both)].into_iter().collect());
    }
    for (name, property) in &mut request.properties {
        match (name.as_str(), property) {
            ("rooms" | "except" | "join" | "leave", RefOr::T(Schema::Array(list))) => list.max_items = Some(limits.max_rooms),
            ("args", RefOr::T(Schema::Array(list))) => list.max_items = Some(limits.max_args),
            ("operations", RefOr::T(Schema::Array(list))) => list.max_items = Some(limits.max_batch),
            ("timeout_ms", RefOr::T(Schema::Object(number))) => {
                let most = limits.max_ack_timeout.as_millis();
                number.maximum = Some(whole(most));
                number.default = Some(json!(u128::from(DEFAULT_TIMEOUT_MS).min(most) as u64));
            }
            ("limit", RefOr::T(Schema::Object(number))) => {
                // The limit of rooms is fixed.
                let is_fixed = number.maximum.is_some();
                number.maximum.get_or_insert(whole(limits.max_sockets as u128));
                number.default = Some(json!(if is_fixed { DEFAULT_LIMIT } else { DEFAULT_LIMIT.min(limits.max_sockets) }));
            }
            ("event", RefOr::T(Schema::Object(text))) => text.pattern = Some(format!("^(?!(?:{})$)", RESERVED_EVENTS.join("|"))),
            _ => {}
        }
    }
}

/// Returns a limit as a number of a schema.
pub(super) fn whole(limit: u128) -> Number {
    Number::UInt(usize::try_from(limit).unwrap_or(usize::MAX))
}
