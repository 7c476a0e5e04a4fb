//! A relay or PDS as an upstream: dial, listen, ping, and dial again. Yields frames as bytes.
//!
//! Decodes only what the connection itself needs: the last `seq`, to go on from, and error frames. An idle upstream is
//! normal; one that does not even answer pings is gone.

use bytes::Bytes;
use fpaas_core::limits;
use futures_util::{SinkExt, StreamExt};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::Message;

use crate::backoff::Backoff;
use crate::course::Course;
use crate::dial::{self, Socket, Trust};
use crate::frame::{Frame, Notice};
use crate::inbox::{Closed, Outbox};
use crate::status::{State, Status};
use crate::upstream::Relay;

/// Why a connection ended.
enum Ended {
    /// Nobody decodes any more.
    Closed,
    /// It was cut, or went silent, or the upstream ended it: a clause for a person.
    Lost(String),
    /// The upstream does not know our cursor yet: it counts anew.
    CountsAnew,
}

impl From<Closed> for Ended {
    fn from(Closed: Closed) -> Self {
        Self::Closed
    }
}

/// Sends what the relay sends behind `cursor`, for ever. Ends when the outbox is closed.
pub(crate) async fn run(mut relay: Relay, cursor: Option<u64>, trust: Trust, outbox: Outbox, status: &Status) {
    let (mut course, mut backoff, mut said) = (Course::behind(cursor), Backoff::default(), false);
    loop {
        let before = course.last();
        let ended = session(&relay, &mut course, &trust, &outbox, status).await;
        if course.last() != before {
            backoff.reset();
            said = false;
        }
        let why = match ended {
            Ended::Closed => return,
            Ended::Lost(why) => why,
            Ended::CountsAnew => {
                (relay, course) = (relay.without_cursor(), Course::default());
                if outbox.restarted().await.is_err() {
                    return;
                }
                "it counts anew, so we go on from what it sends now".to_owned()
            }
        };
        let wait = backoff.next(random());
        let sentence = format!("cannot reach {}: {why}", relay.id());
        // Once, until it has given something again: the rest would only repeat it.
        if std::mem::replace(&mut said, true) {
            tracing::debug!(wait_ms = wait.as_millis(), "{sentence}");
        } else {
            tracing::warn!("{sentence}; trying again until it answers");
        }
        status.set(outbox.upstream(), State::Unreachable(sentence));
        tokio::time::sleep(wait).await;
    }
}

/// One connection.
async fn session(relay: &Relay, course: &mut Course, trust: &Trust, outbox: &Outbox, status: &Status) -> Ended {
    let cursor = course.last();
    let mut socket = match timeout(limits::UPSTREAM_DIAL_MAX, dial::dial(relay, cursor, trust)).await {
        Ok(Ok(socket)) => socket,
        Ok(Err(error)) => return Ended::Lost(dial::clause(&error)),
        Err(_) => return Ended::Lost("it does not answer".to_owned()),
    };
    tracing::info!(upstream = relay.id(), cursor, "upstream connected");
    status.set(outbox.upstream(), State::Connected);
    listen(&mut socket, course, outbox).await
}

async fn listen(socket: &mut Socket, course: &mut Course, outbox: &Outbox) -> Ended {
    let mut heard = Instant::now();
    let mut pings = interval(limits::UPSTREAM_PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = socket.next() => {
                if let Err(ended) = take(message, course, outbox).await {
                    return ended;
                }
                // After the wait for room: a slow log is not a silent upstream.
                heard = Instant::now();
            }
            _ = pings.tick() => {
                if heard.elapsed() > limits::UPSTREAM_SILENCE_MAX {
                    return Ended::Lost("it went silent".to_owned());
                }
                if let Err(error) = socket.send(Message::Ping(Bytes::new())).await {
                    return Ended::Lost(dial::clause(&error));
                }
            }
        }
    }
}

async fn take(
    message: Option<Result<Message, tokio_tungstenite::tungstenite::Error>>,
    course: &mut Course,
    outbox: &Outbox,
) -> Result<(), Ended> {
    match message {
        Some(Ok(Message::Binary(frame))) => forward(frame, course, outbox).await,
        // Not of this protocol: the decoder names and counts it.
        Some(Ok(Message::Text(_))) => Ok(outbox.not_binary().await?),
        Some(Ok(Message::Close(_))) | None => Err(Ended::Lost("it closed the connection".to_owned())),
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(Ended::Lost(dial::clause(&error))),
    }
}

async fn forward(frame: Bytes, course: &mut Course, outbox: &Outbox) -> Result<(), Ended> {
    match Frame::parse(&frame) {
        Ok(Frame::Error(Notice { name: "FutureCursor", .. })) => return Err(Ended::CountsAnew),
        Ok(Frame::Error(Notice { name, message })) => {
            let message = message.unwrap_or_default();
            return Err(Ended::Lost(format!("it says {name:?}: {message:?}")));
        }
        // What is wrong with it, the decoder names and counts.
        Ok(parsed) => drop(parsed.seq().map(|seq| course.admit(seq))),
        Err(_) => {}
    }
    Ok(outbox.frame(frame).await?)
}

fn random() -> u32 {
    // Only spreads reconnects; without the system's randomness they are not spread.
    getrandom::u32().unwrap_or(u32::MAX / 2)
}
