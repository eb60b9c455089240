//! Operations straight on the bus, for clusters without the API.

use sociable_adapter::{Emitter, EmitterError};
use sociable_protocol::{Args, Encoding};

use crate::failure::Failure;
use crate::flags::{Flags, What, value};

/// Sends an operation to the nodes.
pub(crate) async fn run(flags: &Flags) -> Result<(), Failure> {
    let mut emitter = Emitter::connect(flags.emitter()).await?.of(flags.namespace());
    if flags.msgpack {
        emitter = emitter.msgpack();
    }
    emitter = flags.to.iter().fold(emitter, |emitter, room| emitter.to(room.as_str()));
    emitter = flags.except.iter().fold(emitter, |emitter, room| emitter.except(room.as_str()));
    match &flags.what {
        What::Emit { event, args, volatile, .. } => {
            let mut builder = Args::builder(if flags.msgpack { Encoding::MsgPack } else { Encoding::Json });
            for arg in args {
                builder.push(&value(arg)).map_err(EmitterError::from)?;
            }
            if *volatile {
                emitter = emitter.volatile();
            }
            emitter.emit_args(event, builder.finish())?;
        }
        What::Join { rooms } => emitter.sockets_join(rooms.iter().map(String::as_str))?,
        What::Leave { rooms } => emitter.sockets_leave(rooms.iter().map(String::as_str))?,
        What::Disconnect { close, .. } => emitter.disconnect_sockets(*close)?,
        What::Server { event, arg } => emitter.server_side_emit(event, &arg.as_deref().map(value))?,
        _ => return Err(Failure::Usage("the command needs the API: set SOCIABLE_API_KEY".into())),
    }
    emitter.close().await;
    Ok(())
}
