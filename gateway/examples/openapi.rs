//! Prints the OpenAPI document of an API with the default limits: `cargo run -p sociable-gateway --example openapi`.

use sociable_gateway::api::{Limits, openapi};

fn main() {
    print!("{}", openapi::document(&Limits::default()));
}
