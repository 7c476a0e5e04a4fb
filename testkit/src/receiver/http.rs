//! As much of HTTP/1.1 as a receiver needs that must also break off in the middle of it.

use anyhow::{Context as _, Result};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The longest head that is taken.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The longest body that is taken: above the largest batch.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A request's first part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// `POST /path HTTP/1.1`.
    pub(super) line: String,
    /// Names in lower case, in the order they came.
    pub(super) headers: Vec<(String, String)>,
}

impl Head {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    fn parse(text: &str) -> Result<Self> {
        let mut lines = text.split("\r\n");
        let line = lines.next().context("an empty head")?.to_owned();
        let headers = lines
            .filter(|line| !line.is_empty())
            .map(|line| {
                let (name, value) = line.split_once(':').with_context(|| format!("no header: {line}"))?;
                Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
            })
            .collect::<Result<_>>()?;
        Ok(Self { line, headers })
    }
}

/// Requests of one connection, one after the other.
#[derive(Debug)]
pub(super) struct Requests<R> {
    from: R,
    ahead: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Requests<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, ahead: Vec::new() }
    }

    /// The next head, or `None` when the caller has closed the connection.
    pub(super) async fn head(&mut self) -> Result<Option<Head>> {
        loop {
            if let Some(end) = self.ahead.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = self.ahead.drain(..end + 4).collect();
                return Head::parse(&String::from_utf8(head)?).map(Some);
            }
            anyhow::ensure!(self.ahead.len() < HEAD_BYTES_MAX, "the head does not end");
            if self.from.read_buf(&mut self.ahead).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// The body that goes with a head.
    pub(super) async fn body(&mut self, head: &Head) -> Result<Vec<u8>> {
        let length: usize = head.get("content-length").unwrap_or("0").parse()?;
        anyhow::ensure!(length <= BODY_BYTES_MAX, "a body of {length} bytes");
        while self.ahead.len() < length {
            anyhow::ensure!(self.from.read_buf(&mut self.ahead).await? > 0, "the body was cut");
        }
        Ok(self.ahead.drain(..length).collect())
    }
}

/// A whole answer.
pub(super) fn answer(status: u16, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let kind = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
    let mut whole = format!("HTTP/1.1 {status} scripted\r\n{kind}content-length: {length}\r\n\r\n").into_bytes();
    whole.extend_from_slice(body);
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn two_requests_of_one_connection_are_told_apart() {
        let bytes: &[u8] = b"POST /a HTTP/1.1\r\nContent-Length: 2\r\nX: y z \r\n\r\nokPOST /b HTTP/1.1\r\n\r\n";
        let mut requests = Requests::new(bytes);
        let head = requests.head().await.unwrap().unwrap();
        assert_eq!((head.line.as_str(), head.get("x")), ("POST /a HTTP/1.1", Some("y z")));
        assert_eq!(requests.body(&head).await.unwrap(), b"ok");
        let head = requests.head().await.unwrap().unwrap();
        assert_eq!(head.line, "POST /b HTTP/1.1");
        assert_eq!(requests.body(&head).await.unwrap(), b"");
        assert_eq!(requests.head().await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_cut_body_is_an_error() {
        let mut requests = Requests::new(&b"POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\nhalf"[..]);
        let head = requests.head().await.unwrap().unwrap();
        assert!(requests.body(&head).await.is_err());
    }
}
