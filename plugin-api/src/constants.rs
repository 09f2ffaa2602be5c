//! Names and numbers that the services of an installation share.

use std::time::Duration;

/// Shortest pause of a loop that must not spin.
pub const TICK: Duration = Duration::from_millis(1);

/// How long an operation may take that has no timeout of its own.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);

/// How often a failed operation is tried before it is given up.
pub const DEFAULT_RETRY_ATTEMPTS: u32 = 3;

/// The pause between two tries.
pub const DEFAULT_RETRY_DELAY: Duration = Duration::from_millis(500);

/// Address of a socket that binds on every interface.
pub const BIND_ADDRESS: &str = "tcp://*";

/// Address of a socket that connects on this machine.
pub const CONNECT_ADDRESS: &str = "tcp://localhost";

/// Ports by what travels over them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Events for everyone.
    pub events: u16,
    /// Updates of the display.
    pub updates: u16,
    /// The conversational agent.
    pub agent: u16,
    /// Transitions to render.
    pub transition_requests: u16,
    /// Rendered transitions.
    pub transition_results: u16,
    /// Videos to render.
    pub video_requests: u16,
    /// Rendered videos.
    pub video_results: u16,
    /// Images to render.
    pub image_requests: u16,
    /// Rendered images.
    pub image_results: u16,
    /// Depth camera frames.
    pub depth: u16,
    /// OSC to the audio engine.
    pub audio_osc_send: u16,
    /// OSC from the audio engine.
    pub audio_osc_recv: u16,
}

/// The ports that every service of the seed system uses unless its configuration says otherwise.
pub const DEFAULT_PORTS: Ports = Ports {
    events: 5555,
    updates: 5556,
    agent: 5557,
    transition_requests: 5560,
    transition_results: 5561,
    video_requests: 5562,
    video_results: 5563,
    image_requests: 5564,
    image_results: 5565,
    depth: 5566,
    audio_osc_send: 5570,
    audio_osc_recv: 5571,
};
