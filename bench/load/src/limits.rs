//! The bounds of a run: the generator measures a server, and never floods a machine by a slip of the keyboard.

use std::time::Duration;

/// The clients of a run.
pub const CLIENTS: usize = 50_000;

/// The messages of one client that wait for their answer.
pub const IN_FLIGHT: usize = 256;

/// The broadcasts that have not reached all members of their rooms.
pub const WINDOW: usize = 1_024;

/// The broadcasts a second of a run with a rate.
pub const RATE: f64 = 100_000.0;

/// The bytes of one message.
pub const SIZE: usize = 1 << 20;

/// The fewest bytes of a broadcast: its number and its time of sending.
pub const LEAST_BROADCAST: usize = 32;

/// The handshakes at a time.
pub const HANDSHAKES: usize = 1_024;

/// The source addresses, from 127.0.0.1 on. Each has some 28,000 ports.
pub const SOURCES: u8 = 250;

/// The seconds of measuring, of warming up, and of rest, each.
pub const SECONDS: f64 = 60.0;

/// The time that all clients have for connecting.
pub const CONNECTING: Duration = Duration::from_secs(120);

/// The time that all clients have for joining their rooms.
pub const JOINING: Duration = Duration::from_secs(30);

/// The time for the last answers, after the last message was sent.
pub const DRAINING: Duration = Duration::from_secs(5);

/// The time after which a closed loop without any arrival is started again.
pub const STALL: Duration = Duration::from_secs(1);

/// The shortest time in which a peak rate is measured.
pub const LEAST_PEAK: f64 = 0.1;

/// The shortest time between two cuts of a connection, and without a network.
pub const LEAST_CUT: f64 = 0.1;

/// The time of an attempt to connect, as the client has it.
pub const ATTEMPT: Duration = Duration::from_secs(20);

/// The time for the answer to the first question of a session. Then the client asks again.
pub const ANSWER: Duration = Duration::from_secs(5);

/// The time that all clients have for coming back.
pub const RETURNING: Duration = Duration::from_secs(60);

/// The bytes of one message from the server, and of the head of an HTTP response. The server is disconnected beyond.
pub const INPUT: usize = 16 << 20;

/// The time of a whole run. The event loop stops here, whatever the server does.
pub const RUN: Duration = Duration::from_secs(300);
