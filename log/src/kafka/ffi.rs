//! The calls of librdkafka that its crate does not offer: the only unsafe code of FPaaS.
//!
//! Owns pointers from the moment librdkafka gives them until they are given back; nothing of it leaves this module but
//! values. Decides nothing. Source: `rdkafka.h` of librdkafka 2.12.

#![allow(unsafe_code, reason = "librdkafka is C; this is its one home")]

mod admin;
mod brokers;
mod events;
mod group;
mod leaders;
mod messages;

pub(super) use admin::{GroupOffsets, Rights, alter_configs, group_offsets, list_offsets, rights};
pub(super) use brokers::{add_brokers, knows_brokers};
pub(super) use events::{Delivered, deliveries, hear, serve_tokens};
pub(super) use group::{GroupMetadata, NotTaken, send_offsets};
pub(super) use leaders::keep as keep_leaders;
pub(super) use messages::{Arrival, Inbox, Raw, Waker, What};

use std::ffi::CStr;
use std::os::raw::c_char;
use std::ptr::NonNull;

use rdkafka::bindings as sys;
use rdkafka::types::RDKafkaErrorCode;

use super::error::Failure;

/// A queue of librdkafka that is ours to give back.
#[derive(Debug)]
struct Queue(NonNull<sys::rd_kafka_queue_t>);

// SAFETY: librdkafka's queues may be used from any thread (rdkafka.h, "Threads and callbacks").
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

impl Queue {
    fn from_ptr(queue: *mut sys::rd_kafka_queue_t) -> Option<Self> {
        NonNull::new(queue).map(Self)
    }

    const fn ptr(&self) -> *mut sys::rd_kafka_queue_t {
        self.0.as_ptr()
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the queue was given to us, and this is its one owner.
        unsafe { sys::rd_kafka_queue_destroy(self.ptr()) };
    }
}

/// The text at `text`, or nothing. The caller answers for its lifetime.
///
/// # Safety
/// `text` is null or a C string that lives as long as what is returned.
unsafe fn text<'a>(text: *const c_char) -> &'a str {
    if text.is_null() {
        return "";
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_str().unwrap_or_default()
}

fn code(error: sys::rd_kafka_resp_err_t) -> RDKafkaErrorCode {
    error.into()
}

fn failure(error: sys::rd_kafka_resp_err_t) -> Option<Failure> {
    (error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| Failure::of(code(error)))
}
