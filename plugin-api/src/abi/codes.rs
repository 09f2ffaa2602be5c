//! The small numbers that cross the boundary, and their meaning on either side.
//!
//! They travel as `u8`, never as Rust enums: an enum with a value that the receiver does not know
//! would be undefined behaviour, while an unknown number is only an error.

macro_rules! codes {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $code:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$vmeta])* $variant = $code),+ }

        impl $name {
            /// The number that crosses the boundary.
            #[must_use]
            pub const fn code(self) -> u8 { self as u8 }

            /// The meaning of a number from the other side; `None` for one this version does not know.
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}
pub(crate) use codes;

codes! {
    /// Which half of a lifecycle method a plugin reports.
    Step {
        /// The method begins: INITIALIZED → STARTING, say.
        Begin = 0,
        /// The method has ended: STARTING → STARTED, say.
        Complete = 1,
    }
}

codes! {
    /// What the host's mailbox delivers.
    EnvelopeKind {
        /// A message of a SUB socket: topic and JSON.
        Message = 0,
        /// A task of a PULL socket of a worker: JSON alone.
        Task = 1,
        /// A result of a PULL socket of a controller: JSON alone.
        Result = 2,
        /// The host asks the service to stop; no payload.
        Stop = 3,
        /// The host's log level changed: ask again which callsites are wanted; no payload.
        LogLevel = 4,
        /// Like `Stop`, and another instance takes over: what the service keeps is to be given to
        /// the host. Since 1.1.
        Handover = 5,
        /// A new configuration waits in the host. Since 1.1.
        Config = 6,
        /// A socket whose queue was full takes messages again; said only where it was asked for,
        /// by `await_room`. Since 1.2.
        Room = 7,
        /// The host asks for the state as it is now; the service goes on. Since 1.3.
        Snapshot = 8,
    }
}

codes! {
    /// What an instance made of the state that waited for it.
    Restored {
        /// It goes on with it.
        Continued = 0,
        /// It cannot use it and said that it would rather start fresh.
        StartedFresh = 1,
    }
}

codes! {
    /// What a service made of a new configuration.
    ConfigOutcome {
        /// It works by the new one.
        Applied = 0,
        /// It works by the old one, and the new one takes a new instance.
        RestartWanted = 1,
        /// It works by the old one, as the new one is no good.
        Refused = 2,
    }
}

codes! {
    /// How a send went; sending never blocks.
    SendOutcome {
        /// Taken by the host's outbox; the bus thread sends it.
        Queued = 0,
        /// The socket's outbox is full; the message was dropped and counted.
        Full = 1,
        /// There is no such socket, or it cannot send.
        NoSocket = 2,
        /// The host is closing; nothing is taken any more.
        Closed = 3,
        /// The message is larger than the host's maximum message size.
        TooLarge = 4,
    }
}

codes! {
    /// How grave a recorded error is.
    Severity {
        /// Recorded and logged; the service goes on with health `error`.
        Error = 0,
        /// Recorded as fatal; the service stops.
        Fatal = 1,
        /// Like fatal, and caused by a panic: the state of the service is not to be trusted.
        Panic = 2,
    }
}

codes! {
    /// Counters that only the plugin's side can know.
    Counter {
        /// A handler returned normally.
        Handled = 0,
        /// No handler took the message.
        Unhandled = 1,
        /// The payload was not JSON.
        BadFrame = 2,
        /// A handler returned an error.
        HandlerError = 3,
    }
}

codes! {
    /// How a run of a service ended.
    RunOutcome {
        /// The service stopped as asked, or of its own accord.
        Stopped = 0,
        /// A phase returned an error or a fatal error was recorded.
        Failed = 1,
        /// A phase, handler or task panicked.
        Panicked = 2,
        /// The plugin could not build its runtime, so no code of the service ran.
        NoRuntime = 3,
    }
}
