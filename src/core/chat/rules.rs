//! The rules of a chat: what it is called, how many may come, what a client may say and miss.

/// The rules of a chat; durations in nanoseconds, `NEVER` for no limit.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
pub struct Rules {
    /// The name of the server.
    pub name: String,
    /// At most so many members.
    pub max_clients: usize,
    /// How many lines a newcomer is told.
    pub history: usize,
    /// The most bytes that wait for a client before it misses lines.
    pub queue_limit: usize,
    /// A client misses what does not fit, rather than being closed.
    pub drop: bool,
    /// Between two lines in the long run, 0 for no limit.
    pub interval: u64,
    /// Lines at once.
    pub burst: u64,
    /// The longest time between two lines.
    pub idle_timeout: u64,
    /// What one says comes back.
    pub echo: bool,
    /// Somebody wants to know what happens.
    pub events: bool,
    /// The room is on other nodes too.
    pub shared: bool,
}
