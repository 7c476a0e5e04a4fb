//! What a client has to say beside its answers, where nobody else serves its queues.

use std::ffi::c_char;
use std::ptr;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use super::{Queue, code, failure, text};

/// What became of a record: its opaque, and the offset or why there is none.
pub(in crate::kafka) type Delivered = (usize, Result<i64, RDKafkaErrorCode>);

/// Gives the client's context what librdkafka logged and what went wrong with connections; waits at most `wait` for
/// the first of it. For a client whose own poll nobody calls: what is said would pile up.
pub(in crate::kafka) fn hear<C: ClientContext>(client: &Client<C>, wait: Duration) {
    deliveries(client, wait, |_| {});
}

/// The same, and for each record of a producer what became of it. The crate's own poll looks for as long as it is told
/// to, whatever comes, and does not sleep for less than a millisecond: it takes a core while anything is in flight.
pub(in crate::kafka) fn deliveries<C: ClientContext>(
    client: &Client<C>,
    wait: Duration,
    mut delivered: impl FnMut(Delivered),
) {
    // SAFETY: the client is alive; the queue has a reference count of its own.
    let Some(queue) = Queue::from_ptr(unsafe { sys::rd_kafka_queue_get_main(client.native_ptr()) }) else { return };
    let mut wait = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
    loop {
        // SAFETY: the queue is alive; the event is ours and given back below.
        let event = unsafe { sys::rd_kafka_queue_poll(queue.ptr(), wait) };
        if event.is_null() {
            return;
        }
        wait = 0;
        // SAFETY: the event is alive until it is destroyed, and so are its texts and messages.
        unsafe {
            match sys::rd_kafka_event_type(event) {
                sys::RD_KAFKA_EVENT_ERROR => {
                    let error = KafkaError::Global(code(sys::rd_kafka_event_error(event)));
                    client.context().error(error, text(sys::rd_kafka_event_error_string(event)).trim());
                }
                sys::RD_KAFKA_EVENT_DR => reports(event, &mut delivered),
                _ => log(client, event),
            }
            sys::rd_kafka_event_destroy(event);
        }
    }
}

/// # Safety
/// `event` is alive, and holds reports of deliveries.
unsafe fn reports(event: *mut sys::rd_kafka_event_t, delivered: &mut impl FnMut(Delivered)) {
    loop {
        // SAFETY: the caller's promise; a message lives as long as its event.
        let Some(message) = (unsafe { sys::rd_kafka_event_message_next(event).as_ref() }) else { return };
        delivered((message._private as usize, failure(message.err).map_or(Ok(message.offset), |it| Err(it.code))));
    }
}

/// # Safety
/// `event` is alive. One that is no line of a log is passed over.
pub(super) unsafe fn log<C: ClientContext>(client: &Client<C>, event: *mut sys::rd_kafka_event_t) {
    let (mut facility, mut line, mut level): (*const c_char, *const c_char, i32) = (ptr::null(), ptr::null(), 0);
    // SAFETY: the caller's promise; the texts live as long as the event.
    unsafe {
        if sys::rd_kafka_event_log(event, &mut facility, &mut line, &mut level) == 0 {
            client.context().log(of(level), text(facility).trim(), text(line).trim());
        }
    }
}

/// syslog's levels.
const fn of(level: i32) -> RDKafkaLogLevel {
    match level {
        0 => RDKafkaLogLevel::Emerg,
        1 => RDKafkaLogLevel::Alert,
        2 => RDKafkaLogLevel::Critical,
        3 => RDKafkaLogLevel::Error,
        4 => RDKafkaLogLevel::Warning,
        5 => RDKafkaLogLevel::Notice,
        6 => RDKafkaLogLevel::Info,
        _ => RDKafkaLogLevel::Debug,
    }
}

/// Has librdkafka's own thread renew the client's OAUTHBEARER token, where it has one (`enable_sasl_queue`). On any
/// other thread it is renewed when somebody polls, and an idle client would stand there with an old one.
pub(in crate::kafka) fn serve_tokens<C: ClientContext>(client: &Client<C>) {
    // SAFETY: the client is alive; an error that comes back is ours to give back. It says that there are no tokens.
    unsafe {
        let error = sys::rd_kafka_sasl_background_callbacks_enable(client.native_ptr());
        if !error.is_null() {
            sys::rd_kafka_error_destroy(error);
        }
    }
}
