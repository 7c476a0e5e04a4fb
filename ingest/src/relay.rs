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
use crate::dial::{self, Socket};
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
pub(crate) async fn run(mut relay: Relay, mut cursor: Option<u64>, outbox: Outbox, status: &Status) {
    let (mut backoff, mut said) = (Backoff::default(), false);
    loop {
        let before = cursor;
        let ended = session(&relay, &mut cursor, &outbox, status).await;
        if cursor != before {
            backoff.reset();
            said = false;
        }
        let why = match ended {
            Ended::Closed => return,
            Ended::Lost(why) => why,
            Ended::CountsAnew => {
                (relay, cursor) = (relay.without_cursor(), None);
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
async fn session(relay: &Relay, cursor: &mut Option<u64>, outbox: &Outbox, status: &Status) -> Ended {
    let mut socket = match timeout(limits::UPSTREAM_DIAL_MAX, dial::dial(relay, *cursor)).await {
        Ok(Ok(socket)) => socket,
        Ok(Err(error)) => return Ended::Lost(dial::clause(&error)),
        Err(_) => return Ended::Lost("it does not answer".to_owned()),
    };
    tracing::info!(upstream = relay.id(), cursor, "upstream connected");
    status.set(outbox.upstream(), State::Connected);
    listen(&mut socket, cursor, outbox).await
}

async fn listen(socket: &mut Socket, cursor: &mut Option<u64>, outbox: &Outbox) -> Ended {
    let mut heard = Instant::now();
    let mut pings = interval(limits::UPSTREAM_PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = socket.next() => {
                if let Err(ended) = take(message, cursor, outbox).await {
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
    cursor: &mut Option<u64>,
    outbox: &Outbox,
) -> Result<(), Ended> {
    match message {
        Some(Ok(Message::Binary(frame))) => forward(frame, cursor, outbox).await,
        // Not of this protocol: the decoder names and counts it.
        Some(Ok(Message::Text(_))) => Ok(outbox.not_binary().await?),
        Some(Ok(Message::Close(_))) | None => Err(Ended::Lost("it closed the connection".to_owned())),
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(Ended::Lost(dial::clause(&error))),
    }
}

async fn forward(frame: Bytes, cursor: &mut Option<u64>, outbox: &Outbox) -> Result<(), Ended> {
    match Frame::parse(&frame) {
        Ok(Frame::Error(Notice { name: "FutureCursor", .. })) => return Err(Ended::CountsAnew),
        Ok(Frame::Error(Notice { name, message })) => {
            let message = message.unwrap_or_default();
            return Err(Ended::Lost(format!("it says {name:?}: {message:?}")));
        }
        Ok(parsed) => *cursor = parsed.seq().or(*cursor),
        // The decoder names and counts it.
        Err(_) => {}
    }
    Ok(outbox.frame(frame).await?)
}

fn random() -> u32 {
    // Only spreads reconnects; without the system's randomness they are not spread.
    getrandom::u32().unwrap_or(u32::MAX / 2)
}
