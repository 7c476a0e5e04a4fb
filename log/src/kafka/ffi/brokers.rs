//! The brokers that a client knows of.

use std::ffi::CString;
use std::ptr;

use rdkafka::bindings as sys;
use rdkafka::client::{Client, ClientContext};

/// True where it has learned of one from another.
pub(in crate::kafka) fn knows_brokers<C: ClientContext>(client: &Client<C>) -> bool {
    let mut count = 0;
    // SAFETY: the client is alive; the list is ours to give back, or null where it is empty.
    unsafe {
        let ids = sys::rd_kafka_brokers_learned_ids(client.native_ptr(), ptr::from_mut(&mut count));
        if !ids.is_null() {
            sys::rd_kafka_mem_free(client.native_ptr(), ids.cast());
        }
    }
    count > 0
}

/// Tells it of these, beside those that it knows. It keeps the text for as long as it lives.
pub(in crate::kafka) fn add_brokers<C: ClientContext>(client: &Client<C>, brokers: &str) {
    let Ok(brokers) = CString::new(brokers) else { return };
    // SAFETY: the client is alive, and copies the text.
    unsafe { sys::rd_kafka_brokers_add(client.native_ptr(), brokers.as_ptr()) };
}
