//! A tail: server-sent events whose data are records (HTML Living Standard, "Server-sent events").

use std::collections::VecDeque;

use anyhow::Result;

use super::Item;

/// Records as they come.
#[derive(Debug)]
pub struct Tail {
    answer: reqwest::Response,
    parser: Parser,
    ready: VecDeque<Item>,
}

impl Tail {
    pub(super) fn new(answer: reqwest::Response) -> Self {
        Self { answer, parser: Parser::default(), ready: VecDeque::new() }
    }

    /// The next record; `None` when the server has ended the stream.
    pub async fn next(&mut self) -> Result<Option<Item>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(Some(item));
            }
            let Some(chunk) = self.answer.chunk().await? else { return Ok(None) };
            for data in self.parser.take(&chunk) {
                self.ready.push_back(serde_json::from_str(&data)?);
            }
        }
    }
}

/// Bytes to the data of whole events.
#[derive(Debug, Default)]
struct Parser {
    line: Vec<u8>,
    data: Vec<String>,
}

impl Parser {
    fn take(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut events = Vec::new();
        for byte in bytes {
            if *byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                events.extend(self.line(String::from_utf8_lossy(&line).trim_end_matches('\r')));
            } else {
                self.line.push(*byte);
            }
        }
        events
    }

    /// An empty line ends an event; one without data (a comment that keeps the connection open) is none.
    fn line(&mut self, line: &str) -> Option<String> {
        if let Some(data) = line.strip_prefix("data:") {
            self.data.push(data.strip_prefix(' ').unwrap_or(data).to_owned());
        }
        if !line.is_empty() || self.data.is_empty() {
            return None;
        }
        Some(std::mem::take(&mut self.data).join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_put_together_from_any_pieces() {
        let stream = b": hello\n\nid: 7\ndata: {\"a\":1}\n\nevent: x\r\ndata: one\r\ndata:two\r\n\r\ndata: cut";
        for size in 1..stream.len() {
            let mut parser = Parser::default();
            let events: Vec<_> = stream.chunks(size).flat_map(|piece| parser.take(piece)).collect();
            assert_eq!(events, [r#"{"a":1}"#, "one\ntwo"], "pieces of {size}");
        }
    }
}
