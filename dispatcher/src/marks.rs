//! What is noted beside a lane's position, so that a transaction whose outcome the log does not know is found again.

/// No two transactions of a lane have the same.
#[derive(Debug)]
pub(crate) struct Marks {
    start: u64,
    count: u64,
}

impl Marks {
    /// Of a lane that starts.
    pub(crate) fn new() -> Self {
        Self { start: getrandom::u64().unwrap_or_default(), count: 0 }
    }

    /// The next one, of this writer.
    pub(crate) fn next(&mut self, writer: &[u8]) -> bytes::Bytes {
        self.count += 1;
        let Self { start, count } = self;
        [writer, format!(" {start:016x}.{count}").as_bytes()].concat().into()
    }
}
