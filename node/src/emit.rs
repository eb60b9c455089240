//! The arguments of an event, and the errors of sending one.

use bytes::Bytes;
use serde::Serialize;
use sociable_adapter::AdapterError;
use sociable_engine::SendError;
use sociable_protocol::packet::RESERVED_EVENTS;
use sociable_protocol::{Args, EncodeError, Encoding, Id, Raw, Value};
use thiserror::Error;

/// An error of sending an event. Some receivers may have got it.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum EmitError {
    /// The protocol reserves the name.
    #[error("event name \"{0}\" is reserved: choose another")]
    Reserved(String),
    /// A value cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The socket has left, or its client is too slow.
    #[error(transparent)]
    Send(#[from] SendError),
    /// A worker thread is overloaded.
    #[error("worker thread overloaded: emit less, or retry later")]
    Busy,
    /// The other nodes did not get the event.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
}

/// The arguments of an event or acknowledgement.
///
/// | given | sent |
/// |---|---|
/// | `()` | no argument |
/// | `&value`, of any type with `Serialize` | one argument |
/// | `(a, b, …)`, up to eight values | several arguments |
/// | a string, number, `bool`, `Vec`, `Option`, [`Value`] by value | one argument |
/// | [`RawArgs`](crate::RawArgs), [`Raw`] | arguments that were received, as they came |
///
/// Bytes anywhere in a value (`bytes::Bytes`, `serde_bytes`) travel as binary attachments.
///
/// ```
/// # fn show(socket: &sociable::Socket) -> Result<(), sociable::EmitError> {
/// #[derive(serde::Serialize)]
/// struct Move { x: i32, y: i32 }
///
/// socket.emit("tick", ())?;
/// socket.emit("move", &Move { x: 1, y: 2 })?;
/// socket.emit("said", ("Ada", "hello"))?;
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the arguments of an event",
    label = "not arguments of an event",
    note = "give a reference for one argument (`&value`), a tuple for several (`(a, b)`), or `()` for none",
    note = "the value has to implement `serde::Serialize`"
)]
pub trait EmitArgs {
    /// Encodes the arguments.
    ///
    /// # Errors
    ///
    /// A value cannot be encoded.
    fn into_args(self, encoding: Encoding) -> Result<Args, EncodeError>;
}

impl EmitArgs for () {
    fn into_args(self, encoding: Encoding) -> Result<Args, EncodeError> {
        Ok(Args::empty(encoding))
    }
}

impl<T: Serialize + ?Sized> EmitArgs for &T {
    fn into_args(self, encoding: Encoding) -> Result<Args, EncodeError> {
        Args::encode(encoding, self)
    }
}

impl EmitArgs for Args {
    fn into_args(self, encoding: Encoding) -> Result<Args, EncodeError> {
        if self.encoding() == encoding {
            return Ok(self);
        }
        let mut builder = Args::builder(encoding);
        builder.append(&self)?;
        Ok(builder.finish())
    }
}

impl EmitArgs for Raw {
    fn into_args(self, encoding: Encoding) -> Result<Args, EncodeError> {
        Raw::into_args(self).into_args(encoding)
    }
}

macro_rules! one_by_value {
    ($($type:ty $(where $($generic:ident)+)?),* $(,)?) => {
        $(impl$(<$($generic: Serialize),+>)? EmitArgs for $type {
            fn into_args(self, encoding: Encoding) -> Result<Args, EncodeError> {
                Args::encode(encoding, &self)
            }
        })*
    };
}

one_by_value!(bool, char, i8, i16, i32, i64, u8, u16, u32, u64, usize, isize, f32, f64, String, Id, Value, serde_json::Value);
one_by_value!(Vec<T> where T, Option<T> where T);

impl EmitArgs for Bytes {
    fn into_args(self, encoding: Encoding) -> Result<Args, EncodeError> {
        Args::encode(encoding, &Value::Binary(self))
    }
}

macro_rules! several {
    ($($name:ident)+) => {
        impl<$($name: Serialize),+> EmitArgs for ($($name,)+) {
            fn into_args(self, encoding: Encoding) -> Result<Args, EncodeError> {
                #[allow(non_snake_case)]
                let ($($name,)+) = self;
                let mut builder = Args::builder(encoding);
                $(builder.push(&$name)?;)+
                Ok(builder.finish())
            }
        }
    };
}

several!(A);
several!(A B);
several!(A B C);
several!(A B C D);
several!(A B C D E);
several!(A B C D E F);
several!(A B C D E F G);
several!(A B C D E F G H);

pub(crate) fn check_name(event: &str) -> Result<(), EmitError> {
    if RESERVED_EVENTS.contains(&event) { Err(EmitError::Reserved(event.to_owned())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(args: impl EmitArgs) -> String {
        args.into_args(Encoding::Json).unwrap().raw_json().unwrap().to_owned()
    }

    #[test]
    fn arguments_have_all_documented_forms() {
        assert_eq!(json(()), "");
        assert_eq!(json("text"), r#""text""#);
        assert_eq!(json(("a", 1, [2, 3])), r#""a",1,[2,3]"#);
        assert_eq!(json(vec![Some("a"), None]), r#"["a",null]"#);
        assert_eq!(json(vec![1, 2]), "[1,2]");
        assert_eq!(json(f64::NAN), "null");
    }

    #[test]
    fn reserved_name_is_refused() {
        assert_eq!(check_name("disconnecting").unwrap_err().to_string(), "event name \"disconnecting\" is reserved: choose another");
        assert_eq!(check_name("error"), Ok(()));
    }
}
