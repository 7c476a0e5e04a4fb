//! Where frames come from, as people write it: `ws(s)://…` or `file:PATH[?speed=max|Nx]`.
//!
//! Parsing is validation; whether it can be reached or opened shows when it is.

use std::path::{Path, PathBuf};

use url::Url;

use crate::error::{Error, Result};

const ENDPOINT: &str = "/xrpc/com.atproto.sync.subscribeRepos";

/// One source of frames.
#[derive(Clone, Debug, PartialEq)]
pub enum Upstream {
    /// A relay or PDS that speaks `com.atproto.sync.subscribeRepos`.
    Relay(Relay),
    /// A file of frames: `[u32 LE length][frame]`, plain or zstd.
    Recording(Recording),
}

/// A relay or PDS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    url: Url,
    id: String,
}

/// A recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// Absolute.
    pub path: PathBuf,
    pub(crate) speed: Speed,
    id: String,
}

/// How fast a recording is played.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// As fast as the log takes it.
    Max,
    /// So many times as fast as the frames' own times.
    Times(f64),
}

impl Upstream {
    /// Reads it, or says what would be right.
    pub fn parse(text: &str) -> Result<Self> {
        let parsed = match text.split_once(':') {
            Some(("ws" | "wss", _)) => Relay::parse(text).map(Self::Relay),
            Some(("file", rest)) => Recording::parse(rest).map(Self::Recording),
            _ => Err("use wss://HOST, ws://HOST or file:PATH".to_owned()),
        };
        parsed.map_err(|why| Error::Upstream { text: text.to_owned(), why })
    }

    /// What its cursor is kept under: `wss://host` or `file:/absolute/path`.
    pub fn id(&self) -> &str {
        match self {
            Self::Relay(relay) => &relay.id,
            Self::Recording(recording) => &recording.id,
        }
    }
}

impl Relay {
    fn parse(text: &str) -> Result<Self, String> {
        let mut url = Url::parse(text).map_err(|error| error.to_string())?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or("it has no host")?;
        let id = match url.port() {
            Some(port) => format!("{}://{host}:{port}", url.scheme()),
            None => format!("{}://{host}", url.scheme()),
        };
        if url.path() == "/" {
            url.set_path(ENDPOINT);
        }
        if let Some((_, cursor)) = url.query_pairs().find(|(name, _)| name == "cursor") {
            cursor.parse::<u64>().map_err(|_| "its cursor is not a number".to_owned())?;
        }
        Ok(Self { url, id })
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The address to dial: after `cursor` if there is one, else as it was given.
    pub(crate) fn address(&self, cursor: Option<u64>) -> Url {
        let mut url = self.url.clone();
        let Some(cursor) = cursor else { return url };
        let others: Vec<_> = self.url.query_pairs().filter(|(name, _)| name != "cursor").collect();
        url.query_pairs_mut().clear().extend_pairs(others).append_pair("cursor", &cursor.to_string());
        url
    }

    /// The same without a cursor, not even the one it was given with: what comes from now on.
    pub(crate) fn without_cursor(&self) -> Self {
        let mut url = self.url.clone();
        let others: Vec<_> = self.url.query_pairs().filter(|(name, _)| name != "cursor").collect();
        url.set_query(None);
        if !others.is_empty() {
            url.query_pairs_mut().extend_pairs(others);
        }
        Self { url, id: self.id.clone() }
    }
}

impl Recording {
    fn parse(rest: &str) -> Result<Self, String> {
        let (path, speed) = match rest.rsplit_once("?speed=") {
            Some((path, speed)) => (path, Speed::parse(speed)?),
            None if rest.contains('?') => return Err("its only option is ?speed=max or ?speed=2x".to_owned()),
            None => (rest, Speed::Max),
        };
        let path = path.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(path);
        if path.is_empty() {
            return Err("it has no path".to_owned());
        }
        let path = std::path::absolute(Path::new(path)).map_err(|error| error.to_string())?;
        // One recording has one cursor, however its path is spelled.
        let path = path.canonicalize().unwrap_or(path);
        let id = format!("file:{}", path.display());
        Ok(Self { path, speed, id })
    }
}

impl Speed {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        let times = text.strip_suffix('x').and_then(|times| times.parse::<f64>().ok());
        match times {
            Some(times) if (0.001..=1_000_000.0).contains(&times) => Ok(Self::Times(times)),
            _ => Err(format!("{text:?} is no speed: use max or a number and x, such as 1x")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_relay(text: &str, cursor: Option<u64>, id: &str, address: &str) {
        let Upstream::Relay(relay) = Upstream::parse(text).unwrap() else { panic!("{text} is a relay") };
        assert_eq!((relay.id.as_str(), relay.address(cursor).as_str()), (id, address), "{text}");
    }

    #[test]
    fn a_relay_gets_the_path_and_the_cursor_that_are_missing() {
        let full = "wss://bsky.network/xrpc/com.atproto.sync.subscribeRepos";
        check_relay("wss://bsky.network", None, "wss://bsky.network", full);
        check_relay("wss://bsky.network/", Some(7), "wss://bsky.network", &format!("{full}?cursor=7"));
        check_relay(&format!("{full}?cursor=1"), None, "wss://bsky.network", &format!("{full}?cursor=1"));
        check_relay(&format!("{full}?cursor=1&a=b"), Some(7), "wss://bsky.network", &format!("{full}?a=b&cursor=7"));
        check_relay("ws://localhost:2583/other", Some(0), "ws://localhost:2583", "ws://localhost:2583/other?cursor=0");
    }

    #[test]
    fn a_relay_without_cursor_on_has_no_cursor_at_all() {
        let Upstream::Relay(relay) = Upstream::parse("ws://h?cursor=1").unwrap() else { panic!() };
        assert_eq!(relay.without_cursor().address(None).as_str(), "ws://h/xrpc/com.atproto.sync.subscribeRepos");
    }

    #[test]
    fn a_recording_is_known_by_its_absolute_path() {
        let here = std::env::current_dir().unwrap();
        for (text, path, speed) in [
            ("file:/a/frames.zst", "/a/frames.zst".into(), Speed::Max),
            ("file:///a/frames.zst?speed=max", "/a/frames.zst".into(), Speed::Max),
            ("file:a/frames?speed=1x", here.join("a/frames"), Speed::Times(1.0)),
            ("file:./a?speed=0.5x", here.join("a"), Speed::Times(0.5)),
        ] {
            let Upstream::Recording(recording) = Upstream::parse(text).unwrap() else { panic!("{text}") };
            assert_eq!((&recording.path, recording.speed), (&path, speed), "{text}");
            assert_eq!(recording.id, format!("file:{}", path.display()));
        }
    }

    #[test]
    fn what_is_no_upstream_is_refused_in_a_sentence() {
        let bad = ["", "bsky.network", "http://a", "ws://", "wss://a?cursor=x", "file:", "file:a?speed=", "file:a?x=1"];
        for text in
            bad.into_iter().chain(["file:a?speed=0x", "file:a?speed=-1x", "file:a?speed=NaNx", "file:a?speed=2"])
        {
            let error = Upstream::parse(text).unwrap_err().to_string();
            assert!(error.contains("is no upstream: "), "{error}");
        }
    }
}
