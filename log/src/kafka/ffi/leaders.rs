//! What librdkafka would do with the leaders that come beside an answer (KIP-951), and must not.
//!
//! Where a fetch is refused and a partition has no leader at the moment, librdkafka (2.12) counts that partition among
//! those that have a new one, and reads as much from memory that nobody wrote: numbers of partitions that are none, at
//! last out of bounds (confluentinc/librdkafka#5280). Programs are linked so that this is called instead
//! (`--wrap=rd_kafka_metadata_update_op` in their `build.rs`); leaders are found by asking for them, as before KIP-951.

use std::ffi::{c_int, c_void};
use std::hint::black_box;

/// `RD_KAFKA_OP_RES_HANDLED`: the caller gives back what it brought.
const HANDLED: c_int = 1;

/// In place of `rd_kafka_metadata_update_op`: does nothing.
///
/// # Safety
/// Reads neither argument.
#[unsafe(no_mangle)]
extern "C" fn __wrap_rd_kafka_metadata_update_op(_client: *mut c_void, _metadata: *mut c_void) -> c_int {
    HANDLED
}

/// Where it is not called from here, the linker would leave it out before it meets who calls it.
pub(in crate::kafka) fn keep() {
    black_box(__wrap_rd_kafka_metadata_update_op as extern "C" fn(*mut c_void, *mut c_void) -> c_int);
}
