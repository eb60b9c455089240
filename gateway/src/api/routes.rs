//! The names and paths of the operations.

use std::fmt;

macro_rules! routes {
    ($($route:ident $name:literal $is_read:literal)*) => {
        /// An operation by its name, or a batch of operations.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Route {
            $(#[doc = concat!("`", $name, "`")] $route,)*
        }

        impl Route {
            /// All routes.
            pub const ALL: &[Self] = &[$(Self::$route),*];

            /// Returns the name, which is the last part of path and subject.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$route => $name,)*
                }
            }

            /// Returns whether the operation only reads. Such an operation is a GET.
            pub fn is_read(self) -> bool {
                match self {
                    $(Self::$route => $is_read,)*
                }
            }
        }
    };
}

routes! {
    Emit "emit" false
    EmitWithAck "emit-with-ack" false
    Join "join" false
    Leave "leave" false
    Disconnect "disconnect" false
    Sockets "sockets" true
    Rooms "rooms" true
    Count "count" true
    Info "info" true
    Batch "batch" false
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
