//! How long the phases of a call took, as far as they happened in the call's own task.
//!
//! The call that needs a connection opens it, in its own task; there the resolver, the connector and TLS find the
//! call's marks. Where a kept connection becomes free first, the rest of the opening moves to a task of the client's
//! own, which has no marks: nothing of it is the call's.

use std::cell::RefCell;
use std::task::{Context, Poll};
use std::time::Duration;

use fpaas_state::Timings;
use tokio::time::Instant;
use tower::{Layer, Service};

tokio::task_local! {
    static MARKS: RefCell<Marks>;
}

/// When what happened.
#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    looked_up: Option<(Duration, Instant)>,
    connecting: Option<Instant>,
    handshake: Option<Instant>,
    connected: Option<Instant>,
    answered: Option<Instant>,
}

/// Makes a call and says how long its phases took.
pub(crate) async fn of<T>(call: impl Future<Output = T>) -> (T, Timings) {
    let begun = Instant::now();
    let marked = async {
        let done = call.await;
        (done, MARKS.with(|marks| *marks.borrow()))
    };
    let (done, marks) = MARKS.scope(RefCell::default(), marked).await;
    (done, marks.timings(begun, Instant::now()))
}

/// A name was looked up since `begun`.
pub(crate) fn looked_up(begun: Instant) {
    let now = Instant::now();
    mark(|marks| marks.looked_up = Some((now - begun, now)));
}

/// The head of the answer is there.
pub(crate) fn answered() {
    mark(|marks| marks.answered = Some(Instant::now()));
}

/// There is a connection, and TLS begins on it.
pub(crate) fn handshake() {
    mark(|marks| {
        marks.handshake.get_or_insert_with(Instant::now);
    });
}

/// Nothing outside of a call's own task.
fn mark(note: impl FnOnce(&mut Marks)) {
    // An error says that there is no call.
    let _no_call = MARKS.try_with(|marks| note(&mut marks.borrow_mut()));
}

impl Marks {
    fn timings(&self, begun: Instant, ended: Instant) -> Timings {
        let since = |later: Instant| later.saturating_duration_since(begun);
        let timings = Timings { first_byte: self.answered.map(since), total: since(ended), ..Timings::default() };
        let dns = self.looked_up.map(|(took, _)| took);
        match self.connecting {
            // It began to open a connection, and was answered on a kept one.
            Some(_) if self.answered.is_some() && self.connected.is_none() => timings,
            Some(_) => Timings { dns, connect: self.connect(), tls: self.tls(), ..timings },
            None => Timings { dns, ..timings },
        }
    }

    fn connect(&self) -> Option<Duration> {
        let looked_up = self.looked_up.map(|(_, at)| at);
        let from = self.connecting.max(looked_up)?;
        Some(self.handshake.or(self.connected)?.saturating_duration_since(from))
    }

    fn tls(&self) -> Option<Duration> {
        Some(self.connected?.saturating_duration_since(self.handshake?))
    }
}

/// Around what opens connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Marking;

/// See [`Marking`].
#[derive(Clone, Debug)]
pub(crate) struct Marked<S>(S);

impl<S> Layer<S> for Marking {
    type Service = Marked<S>;

    fn layer(&self, inner: S) -> Marked<S> {
        Marked(inner)
    }
}

impl<T, S: Service<T, Future: Send + 'static>> Service<T> for Marked<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, target: T) -> Self::Future {
        let connection = self.0.call(target);
        Box::pin(async move {
            // A call whose kept connection turned out to be closed opens a second one.
            mark(|marks| {
                *marks = Marks { connecting: Some(Instant::now()), looked_up: marks.looked_up, ..Marks::default() };
            });
            let connection = connection.await?;
            mark(|marks| marks.connected = Some(Instant::now()));
            Ok(connection)
        })
    }
}
