//! What a consumer's queue holds, many at a time, and ends of partitions with their topic and offset: the crate's own
//! poll gives neither.

use std::marker::PhantomData;
use std::os::raw::c_void;
use std::ptr;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::types::RDKafkaErrorCode;

use super::{Queue, code, events, text};

/// How many messages are taken at a time.
const MESSAGES: usize = 1000;

/// A consumer's queue. The consumer is kept alive by it, and its poll is not called beside.
pub(in crate::kafka) struct Inbox<C: ConsumerContext + 'static> {
    queue: Queue,
    /// What librdkafka logs, which would go to standard error if it stayed in the queue.
    logs: Queue,
    messages: Vec<*mut sys::rd_kafka_message_t>,
    consumer: Arc<BaseConsumer<C>>,
}

// SAFETY: the pointers in `messages` live only within `take`; all else may be used from any thread.
unsafe impl<C: ConsumerContext + 'static> Send for Inbox<C> {}

/// Ends the wait of an [`Inbox`] from another thread.
#[derive(Debug)]
pub(in crate::kafka) struct Waker(Queue);

/// One thing that happened to a partition, or to the whole client where `topic` is empty.
#[derive(Debug)]
pub(in crate::kafka) struct Arrival<'a> {
    pub(in crate::kafka) topic: &'a str,
    pub(in crate::kafka) partition: i32,
    pub(in crate::kafka) offset: i64,
    pub(in crate::kafka) what: What<'a>,
}

/// See [`Arrival`].
#[derive(Debug)]
pub(in crate::kafka) enum What<'a> {
    /// A record at the offset.
    Record(Raw<'a>),
    /// There is nothing readable at or above the offset now.
    End,
    /// The partition cannot be read.
    Failed(RDKafkaErrorCode),
}

/// A record's parts, where librdkafka holds them.
#[derive(Debug)]
pub(in crate::kafka) struct Raw<'a> {
    message: *mut sys::rd_kafka_message_t,
    of: PhantomData<&'a [u8]>,
}

impl<C: ConsumerContext + 'static> Inbox<C> {
    /// The queue of `consumer`, which has a group.
    pub(in crate::kafka) fn of(consumer: Arc<BaseConsumer<C>>) -> Option<Self> {
        let client = consumer.client().native_ptr();
        // SAFETY: the client lives as long as `consumer`, which is kept beside the queues.
        let (queue, logs) = unsafe { (sys::rd_kafka_queue_get_consumer(client), sys::rd_kafka_queue_new(client)) };
        let (queue, logs) = (Queue::from_ptr(queue)?, Queue::from_ptr(logs)?);
        // SAFETY: both are alive; librdkafka takes a reference of its own.
        unsafe { sys::rd_kafka_set_log_queue(client, logs.ptr()) };
        Some(Self { queue, logs, messages: vec![ptr::null_mut(); MESSAGES], consumer })
    }

    /// The consumer it is of.
    pub(in crate::kafka) const fn consumer(&self) -> &Arc<BaseConsumer<C>> {
        &self.consumer
    }

    /// What wakes it.
    pub(in crate::kafka) fn waker(&self) -> Option<Waker> {
        // SAFETY: the client lives as long as `consumer`; the queue has a reference count of its own.
        Queue::from_ptr(unsafe { sys::rd_kafka_queue_get_consumer(self.consumer.client().native_ptr()) }).map(Waker)
    }

    /// Gives what there is to `each`, in order; waits at most `wait` for the first. Answers how much it was.
    pub(in crate::kafka) fn take(&mut self, wait: Duration, mut each: impl FnMut(Arrival<'_>)) -> usize {
        self.log();
        let wait = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // librdkafka waits until it has as many as were asked for: so one is waited for, and the rest taken.
        let mut taken = self.consume(0, 1, wait);
        if taken == 1 {
            taken += self.consume(1, self.messages.len() - 1, 0);
        }
        for message in self.messages.iter().take(taken) {
            // SAFETY: librdkafka gave this message to us; it is read here and given back once.
            unsafe {
                each(arrival(*message));
                sys::rd_kafka_message_destroy(*message);
            }
        }
        taken
    }

    /// Takes up to `count` messages into `messages` from its `from`-th on; answers how many.
    fn consume(&mut self, from: usize, count: usize, wait: i32) -> usize {
        let Some(room) = self.messages.get_mut(from..from + count) else { return 0 };
        // SAFETY: there is room for as many pointers as is said.
        let taken = unsafe { sys::rd_kafka_consume_batch_queue(self.queue.ptr(), wait, room.as_mut_ptr(), room.len()) };
        usize::try_from(taken).unwrap_or(0)
    }

    /// Passes on what librdkafka logged since.
    fn log(&self) {
        loop {
            // SAFETY: the queue is alive, and the event is given back below.
            let event = unsafe { sys::rd_kafka_queue_poll(self.logs.ptr(), 0) };
            if event.is_null() {
                return;
            }
            // SAFETY: the event is alive until it is destroyed.
            unsafe {
                events::log(self.consumer.client(), event);
                sys::rd_kafka_event_destroy(event);
            }
        }
    }
}

impl<C: ConsumerContext + 'static> std::fmt::Debug for Inbox<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").field("queue", &self.queue).finish_non_exhaustive()
    }
}

impl Waker {
    /// Ends the wait that goes on, or the next one.
    pub(in crate::kafka) fn wake(&self) {
        // SAFETY: the queue is alive.
        unsafe { sys::rd_kafka_queue_yield(self.0.ptr()) };
    }
}

/// # Safety
/// `message` is alive for as long as what is returned.
unsafe fn arrival<'a>(message: *mut sys::rd_kafka_message_t) -> Arrival<'a> {
    // SAFETY: the caller's promise; a topic's name lives as long as a message of it.
    let (error, topic, partition, offset) = unsafe {
        let topic = (*message).rkt;
        let topic = if topic.is_null() { "" } else { text(sys::rd_kafka_topic_name(topic)) };
        ((*message).err, topic, (*message).partition, (*message).offset)
    };
    let what = match error {
        sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => What::Record(Raw { message, of: PhantomData }),
        sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__PARTITION_EOF => What::End,
        error => What::Failed(code(error)),
    };
    Arrival { topic, partition, offset, what }
}

impl<'a> Raw<'a> {
    /// Its key, if it has one.
    pub(in crate::kafka) fn key(&self) -> Option<&'a [u8]> {
        // SAFETY: the message is alive as long as `self`.
        unsafe { bytes((*self.message).key, (*self.message).key_len) }
    }

    /// Its value, if it has one.
    pub(in crate::kafka) fn value(&self) -> Option<&'a [u8]> {
        // SAFETY: the message is alive as long as `self`.
        unsafe { bytes((*self.message).payload, (*self.message).len) }
    }

    /// Milliseconds since the epoch; 0 where it has none.
    pub(in crate::kafka) fn timestamp_ms(&self) -> i64 {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive as long as `self`.
        unsafe { sys::rd_kafka_message_timestamp(self.message, &mut kind) }.max(0)
    }

    /// Each header in its order. One without a value is one with an empty value.
    pub(in crate::kafka) fn each_header(&self, mut each: impl FnMut(&str, &[u8])) {
        let mut headers = ptr::null_mut();
        // SAFETY: the message is alive as long as `self`, and its headers with it.
        let error = unsafe { sys::rd_kafka_message_headers(self.message, &mut headers) };
        if error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || headers.is_null() {
            return;
        }
        for index in 0.. {
            let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the headers are alive; the pointers are set where the answer is no error.
            unsafe {
                let error = sys::rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut size);
                if error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                    return;
                }
                each(text(name), bytes(value, size).unwrap_or_default());
            }
        }
    }
}

/// # Safety
/// `at` is null, or `size` bytes are readable there for as long as what is returned lives.
unsafe fn bytes<'a>(at: *const c_void, size: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise.
    (!at.is_null()).then(|| unsafe { slice::from_raw_parts(at.cast(), size) })
}
