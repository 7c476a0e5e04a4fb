//! Reads the body of an answer: decoded where it was compressed, bounded in both forms, and the beginning of it kept to
//! be shown.
//!
//! Does not own what a body means ([`crate::response`]).

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use fpaas_core::limits;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use reqwest::Response;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::response::{Body, Failure, Reason};

/// What we ask for.
pub(super) const ENCODINGS: &str = "gzip";
/// How much of a body that nobody needs is read so that its connection can be used again, and for how long.
const DRAIN_BYTES: usize = 64 * 1024;
const DRAIN_TIME: Duration = Duration::from_millis(500);
/// How long a body is read that need not say anything.
const LATE: Duration = Duration::from_secs(2);

/// An answer that is not longer needs no room.
const SMALL: usize = 64 * 1024;
/// Deflate makes at most so many bytes of one (RFC 1951: a match is 258 bytes long and takes two bits).
const DEFLATED_MAX: usize = 1032;

/// Room for the bodies of answers that are not small. Whoever finds none waits, within the time that the call has.
/// Invariant: bounded.
#[derive(Clone, Debug)]
pub(super) struct Room(Arc<Semaphore>);

impl Room {
    /// For so many bytes.
    pub(super) fn of(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes / SMALL)))
    }

    async fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(SMALL)).unwrap_or(u32::MAX);
        Arc::clone(&self.0).acquire_many_owned(units).await.ok()
    }
}

/// A body, and the room that it takes until nobody needs it.
struct Held {
    body: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

/// The beginning of a body, decoded: at most `limits::RESPONSE_PIECE_BYTES_MAX`.
#[derive(Clone, Debug, Default)]
pub(super) struct Piece(Vec<u8>);

impl Piece {
    /// Of what is known of the body so far.
    fn take(&mut self, body: &[u8]) {
        let known = body.get(self.0.len()..body.len().min(limits::RESPONSE_PIECE_BYTES_MAX));
        self.0.extend_from_slice(known.unwrap_or_default());
    }

    pub(super) fn into_bytes(self) -> Bytes {
        self.0.into()
    }
}

/// The whole body, if it is not too long.
pub(super) async fn whole(mut response: Response, piece: &mut Piece, room: &Room) -> Result<Body, Failure> {
    let status = response.status().as_u16();
    let refused = |why: &str| Failure {
        status: Some(status),
        ..Failure::new(Reason::BadResponse, format!("the answer's {why}"))
    };
    let mut decoder = Decoder::of(response.headers(), limits::RESPONSE_BYTES_MAX);
    let sent = response.content_length().map_or(usize::MAX, |sent| usize::try_from(sent).unwrap_or(usize::MAX));
    let mut read: usize = 0;
    let mut held = None;
    while let Some(chunk) = response.chunk().await.map_err(|error| super::failure(&error))? {
        read = read.saturating_add(chunk.len());
        let Some(decoder) = &mut decoder else { return Err(refused(UNKNOWN)) };
        let most = decoder.most_of(sent);
        if held.is_none() && most > SMALL && decoder.most_of(read) > SMALL {
            held = room.take(most).await;
        }
        let pushed = decoder.push(&chunk);
        piece.take(decoder.decoded());
        match pushed {
            _ if read > limits::RESPONSE_BYTES_MAX => return Ok(Body::TooLong),
            Err(_) if decoder.is_full() => return Ok(Body::TooLong),
            Err(_) => return Err(refused(BROKEN)),
            Ok(()) => {}
        }
    }
    match decoder {
        Some(decoder) if read > 0 => match decoder.finish() {
            Ok(body) => {
                piece.take(&body);
                Ok(Body::Whole(match held {
                    Some(room) => Bytes::from_owner(Held { body, _room: room }),
                    None => body.into(),
                }))
            }
            Err(Ended::Full) => Ok(Body::TooLong),
            Err(Ended::Broken) => Err(refused(BROKEN)),
        },
        _ => Ok(Body::Whole(Bytes::new())),
    }
}

/// The whole body where it may say something of single events and need not: what cannot be read, or comes late, says
/// nothing.
pub(super) async fn unless_late(response: Response, piece: &mut Piece, room: &Room) -> Body {
    match tokio::time::timeout(LATE, whole(response, piece, room)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) | Err(_) => Body::Unread,
    }
}

const UNKNOWN: &str = "content-encoding is none that was asked for";
const BROKEN: &str = "body is no whole gzip, as its content-encoding says";

/// Reads a little of a body that nobody needs. What goes wrong with it means nothing.
pub(super) async fn drain(mut response: Response, piece: &mut Piece) -> Body {
    let rest = async {
        let mut decoder = Decoder::of(response.headers(), limits::RESPONSE_PIECE_BYTES_MAX);
        let mut read = 0;
        while let Ok(Some(chunk)) = response.chunk().await {
            if let Some(decoding) = &mut decoder {
                let pushed = decoding.push(&chunk);
                piece.take(decoding.decoded());
                decoder = decoder.filter(|_| pushed.is_ok());
            }
            read += chunk.len();
            if read > DRAIN_BYTES {
                break;
            }
        }
    };
    // A slow one costs its connection and nothing else.
    drop(tokio::time::timeout(DRAIN_TIME, rest).await);
    Body::Unread
}

/// Turns what comes into what it stands for.
enum Decoder {
    Plain(Bounded),
    Gzip(Box<MultiGzDecoder<Bounded>>),
}

/// Why there is no whole body.
enum Ended {
    Full,
    Broken,
}

impl Decoder {
    /// `None` of an encoding that was not asked for.
    fn of(headers: &HeaderMap, bytes_max: usize) -> Option<Self> {
        let into = Bounded { bytes: Vec::new(), bytes_max, is_full: false };
        let mut encodings = headers.get_all(CONTENT_ENCODING).iter().map(|value| value.to_str().map(str::trim));
        match (encodings.next(), encodings.next()) {
            (None | Some(Ok("")), None) => Some(Self::Plain(into)),
            (Some(Ok(name)), None) if name.eq_ignore_ascii_case("identity") => Some(Self::Plain(into)),
            (Some(Ok(name)), None) if ["gzip", "x-gzip"].iter().any(|gzip| name.eq_ignore_ascii_case(gzip)) => {
                Some(Self::Gzip(Box::new(MultiGzDecoder::new(into))))
            }
            _ => None,
        }
    }

    /// How many bytes so many that are sent stand for at most; more than the limit are not taken.
    fn most_of(&self, sent: usize) -> usize {
        let most = match self {
            Self::Plain(_) => sent,
            Self::Gzip(_) => sent.saturating_mul(DEFLATED_MAX),
        };
        most.min(limits::RESPONSE_BYTES_MAX)
    }

    /// Fails where that is not what it should be, or becomes too much.
    fn push(&mut self, chunk: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(into) => into.write_all(chunk),
            Self::Gzip(decoder) => decoder.write_all(chunk).and_then(|()| decoder.flush()),
        }
    }

    fn decoded(&self) -> &[u8] {
        &self.into().bytes
    }

    fn is_full(&self) -> bool {
        self.into().is_full
    }

    fn into(&self) -> &Bounded {
        match self {
            Self::Plain(into) => into,
            Self::Gzip(decoder) => decoder.get_ref(),
        }
    }

    fn finish(mut self) -> Result<Vec<u8>, Ended> {
        let ended = match &mut self {
            Self::Plain(_) => Ok(()),
            Self::Gzip(decoder) => decoder.try_finish(),
        };
        match ended {
            Ok(()) => Ok(std::mem::take(self.bytes())),
            Err(_) if self.is_full() => Err(Ended::Full),
            Err(_) => Err(Ended::Broken),
        }
    }

    fn bytes(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Plain(into) => &mut into.bytes,
            Self::Gzip(decoder) => &mut decoder.get_mut().bytes,
        }
    }
}

/// Takes so many bytes and no more.
struct Bounded {
    bytes: Vec<u8>,
    bytes_max: usize,
    is_full: bool,
}

impl Write for Bounded {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        let room = self.bytes_max - self.bytes.len();
        self.is_full |= more.len() > room;
        let taken = more.get(..room.min(more.len())).unwrap_or_default();
        self.bytes.extend_from_slice(taken);
        if taken.is_empty() && !more.is_empty() { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(taken.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
