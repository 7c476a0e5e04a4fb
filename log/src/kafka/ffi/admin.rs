//! Requests of the admin client that the crate does not have: offsets by isolation level, a group's offsets read
//! stably, and single settings of a topic. Each blocks its thread until it is answered.

use std::collections::HashMap;
use std::ffi::CString;
use std::ptr;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::client::{Client, ClientContext};
use rdkafka::types::RDKafkaErrorCode;

use fpaas_core::TopicPartition;

use super::{Queue, code, failure, text};
use crate::kafka::error::Failure;

/// What is answered for one partition.
pub(in crate::kafka) type Answer<T> = Result<T, RDKafkaErrorCode>;
type Answers<T> = Result<HashMap<(String, i32), Answer<T>>, Failure>;
/// A group's offset and its metadata, `None` where there is none, by topic and partition.
pub(in crate::kafka) type GroupOffsets = HashMap<(String, i32), Answer<Option<(i64, Vec<u8>)>>>;

/// librdkafka answers by its own deadline; a little more is waited, so that its answer comes first.
const MARGIN: Duration = Duration::from_secs(5);
/// The longest deadline that librdkafka takes.
const NO_DEADLINE: Duration = Duration::from_secs(3600);

/// For each partition the offset that its number asks for: -2 the first, -1 the end, else the first at or after that
/// time in milliseconds (-1 where there is none). `committed` says whether the end is the last stable offset.
///
/// Of a request that failed as a whole, as when its leader dies, librdkafka's merge leaves the partitions as it made
/// them: without an error, and without an offset (seen in 2.12.1). Nobody has answered for these.
pub(in crate::kafka) fn list_offsets<C: ClientContext>(
    client: &Client<C>,
    wanted: &[(&TopicPartition, i64)],
    committed: bool,
    wait: Duration,
) -> Answers<i64> {
    let list = List::of(wanted.iter().map(|(at, offset)| (*at, *offset)))?;
    let options = Options::of(client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS, wait)?;
    let level = match committed {
        true => sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED,
        false => sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED,
    };
    // SAFETY: the options are alive; an error that comes back is ours to give back.
    unsafe { taken(sys::rd_kafka_AdminOptions_set_isolation_level(options.0, level))? };
    let event = ask(client, wait + MARGIN, |queue| {
        // SAFETY: all three are alive during the call, and librdkafka copies the list.
        unsafe { sys::rd_kafka_ListOffsets(client.native_ptr(), list.0, options.0, queue) };
    })?;
    let mut answers = HashMap::new();
    // SAFETY: the event is alive, and everything in it as long as it.
    unsafe {
        let mut count = 0;
        let infos = sys::rd_kafka_ListOffsets_result_infos(sys::rd_kafka_event_ListOffsets_result(event.0), &mut count);
        for index in 0..count {
            let at = sys::rd_kafka_ListOffsetsResultInfo_topic_partition(*infos.add(index));
            note(&mut answers, at, |at| at.offset);
        }
    }
    let unanswered = Ok(i64::from(sys::RD_KAFKA_OFFSET_INVALID));
    let unanswered = answers.values_mut().filter(|answer| **answer == unanswered);
    unanswered.for_each(|answer| *answer = Err(RDKafkaErrorCode::BrokerTransportFailure));
    Ok(answers)
}

/// The group's committed offsets with their metadata; `None` where there is none. `stable` refuses a partition whose
/// offset is part of an open transaction. After [`RDKafkaErrorCode::OperationTimedOut`] the client is to be thrown away
/// (`coordinators`).
pub(in crate::kafka) fn group_offsets<C: ClientContext>(
    client: &Client<C>,
    group: &str,
    wanted: &[TopicPartition],
    stable: bool,
    wait: Duration,
) -> Result<GroupOffsets, Failure> {
    let list = List::of(wanted.iter().map(|at| (at, i64::from(sys::RD_KAFKA_OFFSET_INVALID))))?;
    let options =
        Options::of(client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS, NO_DEADLINE)?;
    let name = c_string(group)?;
    // SAFETY: the options are alive; the request is made of copies and given back below.
    let (mut request, set) = unsafe {
        let set = sys::rd_kafka_AdminOptions_set_require_stable_offsets(options.0, stable.into());
        (sys::rd_kafka_ListConsumerGroupOffsets_new(name.as_ptr(), list.0), taken(set))
    };
    let asked = set.and_then(|()| {
        ask(client, wait, |queue| {
            // SAFETY: one request, alive during the call.
            unsafe {
                sys::rd_kafka_ListConsumerGroupOffsets(client.native_ptr(), &mut request, 1, options.0, queue);
            }
        })
    });
    // SAFETY: it was given to us above.
    unsafe { sys::rd_kafka_ListConsumerGroupOffsets_destroy(request) };
    let event = asked?;
    let mut answers = HashMap::new();
    // SAFETY: the event is alive, and everything in it as long as it.
    unsafe {
        let (mut count, result) = (0, sys::rd_kafka_event_ListConsumerGroupOffsets_result(event.0));
        let groups = sys::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &mut count);
        for index in 0..count {
            let group = *groups.add(index);
            let error = sys::rd_kafka_group_result_error(group);
            if let Some(failed) = (!error.is_null()).then(|| failure(sys::rd_kafka_error_code(error))).flatten() {
                return Err(failed);
            }
            let list = sys::rd_kafka_group_result_partitions(group);
            for index in 0..usize::try_from((*list).cnt).unwrap_or(0) {
                note(&mut answers, (*list).elems.add(index), committed);
            }
        }
    }
    Ok(answers)
}

/// Sets these settings of a topic and leaves all others as they are (KIP-339).
pub(in crate::kafka) fn alter_configs<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    settings: &[(&str, String)],
    wait: Duration,
) -> Result<(), Failure> {
    let options = Options::of(client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_INCREMENTALALTERCONFIGS, wait)?;
    let name = c_string(topic)?;
    let settings = settings.iter().map(|(name, value)| Ok((c_string(name)?, c_string(value)?)));
    let settings = settings.collect::<Result<Vec<_>, Failure>>()?;
    let set = sys::rd_kafka_AlterConfigOpType_t::RD_KAFKA_ALTER_CONFIG_OP_TYPE_SET;
    // SAFETY: the resource is made of copies, used by this request and given back.
    unsafe {
        let kind = sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
        let mut resource = sys::rd_kafka_ConfigResource_new(kind, name.as_ptr());
        let mut altered = Ok(());
        for (name, value) in &settings {
            let added =
                sys::rd_kafka_ConfigResource_add_incremental_config(resource, name.as_ptr(), set, value.as_ptr());
            altered = altered.and(taken(added));
        }
        let asked = altered.and_then(|()| {
            ask(client, wait + MARGIN, |queue| {
                sys::rd_kafka_IncrementalAlterConfigs(client.native_ptr(), &mut resource, 1, options.0, queue);
            })
        });
        sys::rd_kafka_ConfigResource_destroy(resource);
        let event = asked?;
        let (mut count, result) = (0, sys::rd_kafka_event_IncrementalAlterConfigs_result(event.0));
        let resources = sys::rd_kafka_IncrementalAlterConfigs_result_resources(result, &mut count);
        let errors = (0..count).filter_map(|index| failure(sys::rd_kafka_ConfigResource_error(*resources.add(index))));
        errors.into_iter().next().map_or(Ok(()), Err)
    }
}

/// What we may do with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kafka) struct Rights {
    pub(in crate::kafka) read: bool,
    pub(in crate::kafka) write: bool,
}

/// What we may do with each of these topics, as the brokers say (KIP-430); everything where they do not say.
pub(in crate::kafka) fn rights<C: ClientContext>(
    client: &Client<C>,
    topics: &[&str],
    wait: Duration,
) -> Result<HashMap<String, Answer<Rights>>, Failure> {
    let options = Options::of(client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, wait)?;
    let names = topics.iter().map(|topic| c_string(topic)).collect::<Result<Vec<_>, _>>()?;
    let mut names: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    // SAFETY: the options are alive; the collection is made of copies and given back below.
    let (wanted, set) = unsafe {
        let set = sys::rd_kafka_AdminOptions_set_include_authorized_operations(options.0, 1);
        (sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len()), taken(set))
    };
    let asked = set.and_then(|()| {
        ask(client, wait, |queue| {
            // SAFETY: all are alive during the call, and librdkafka copies the names.
            unsafe { sys::rd_kafka_DescribeTopics(client.native_ptr(), wanted, options.0, queue) };
        })
    });
    // SAFETY: it was given to us above.
    unsafe { sys::rd_kafka_TopicCollection_destroy(wanted) };
    let event = asked?;
    let mut answers = HashMap::new();
    // SAFETY: the event is alive, and everything in it as long as it.
    unsafe {
        let (mut count, result) = (0, sys::rd_kafka_event_DescribeTopics_result(event.0));
        let found = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        for index in 0..count {
            let topic = *found.add(index);
            let name = text(sys::rd_kafka_TopicDescription_name(topic)).to_owned();
            answers.insert(name, described(topic));
        }
    }
    Ok(answers)
}

/// # Safety
/// `topic` is alive.
unsafe fn described(topic: *const sys::rd_kafka_TopicDescription_t) -> Answer<Rights> {
    use sys::rd_kafka_AclOperation_t::{RD_KAFKA_ACL_OPERATION_READ, RD_KAFKA_ACL_OPERATION_WRITE};
    // SAFETY: the caller's promise; the operations are as many as is said.
    unsafe {
        let failed = failure(sys::rd_kafka_error_code(sys::rd_kafka_TopicDescription_error(topic)));
        if let Some(failed) = failed {
            return Err(failed.code);
        }
        let mut count = 0;
        let operations = sys::rd_kafka_TopicDescription_authorized_operations(topic, &mut count);
        if operations.is_null() || count == 0 {
            return Ok(Rights { read: true, write: true });
        }
        let operations = std::slice::from_raw_parts(operations, count);
        let may = |operation| operations.contains(&operation);
        Ok(Rights { read: may(RD_KAFKA_ACL_OPERATION_READ), write: may(RD_KAFKA_ACL_OPERATION_WRITE) })
    }
}

/// Sends what `send` puts together and waits so long for its answer.
fn ask<C: ClientContext>(
    client: &Client<C>,
    wait: Duration,
    send: impl FnOnce(*mut sys::rd_kafka_queue_t),
) -> Result<Event, Failure> {
    // SAFETY: the client is alive.
    let queue = Queue::from_ptr(unsafe { sys::rd_kafka_queue_new(client.native_ptr()) });
    let queue = queue.ok_or_else(|| Failure::of(RDKafkaErrorCode::Fail))?;
    send(queue.ptr());
    // SAFETY: the queue is alive; the event is ours to give back.
    let event = unsafe { sys::rd_kafka_queue_poll(queue.ptr(), millis(wait)) };
    if event.is_null() {
        return Err(Failure::of(RDKafkaErrorCode::OperationTimedOut));
    }
    let event = Event(event);
    // SAFETY: the event is alive.
    let (error, said) =
        unsafe { (sys::rd_kafka_event_error(event.0), text(sys::rd_kafka_event_error_string(event.0))) };
    match failure(error) {
        Some(failed) => Err(failed.saying(said)),
        None => Ok(event),
    }
}

/// # Safety
/// `at` is an entry of a list that is alive.
unsafe fn note<T>(
    answers: &mut HashMap<(String, i32), Answer<T>>,
    at: *const sys::rd_kafka_topic_partition_t,
    value: impl FnOnce(&sys::rd_kafka_topic_partition_t) -> T,
) {
    // SAFETY: the caller's promise.
    let (at, topic) = unsafe { (&*at, text((*at).topic).to_owned()) };
    let answer = match failure(at.err) {
        Some(_) => Err(code(at.err)),
        None => Ok(value(at)),
    };
    answers.insert((topic, at.partition), answer);
}

fn committed(at: &sys::rd_kafka_topic_partition_t) -> Option<(i64, Vec<u8>)> {
    let metadata = match at.metadata.is_null() {
        true => Vec::new(),
        // SAFETY: librdkafka says that so many bytes are there.
        false => unsafe { std::slice::from_raw_parts(at.metadata.cast::<u8>(), at.metadata_size) }.to_vec(),
    };
    (at.offset >= 0).then_some((at.offset, metadata))
}

/// # Safety
/// `error` is null or an error that is ours.
unsafe fn taken(error: *mut sys::rd_kafka_error_t) -> Result<(), Failure> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: the caller's promise.
    unsafe {
        let failed = Failure::of(code(sys::rd_kafka_error_code(error))).saying(text(sys::rd_kafka_error_string(error)));
        sys::rd_kafka_error_destroy(error);
        Err(failed)
    }
}

fn c_string(text: &str) -> Result<CString, Failure> {
    CString::new(text).map_err(|_| Failure::of(RDKafkaErrorCode::InvalidArgument))
}

fn millis(wait: Duration) -> i32 {
    i32::try_from(wait.as_millis()).unwrap_or(i32::MAX)
}

struct Event(*mut sys::rd_kafka_event_t);

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: it was given to us, once.
        unsafe { sys::rd_kafka_event_destroy(self.0) };
    }
}

struct List(*mut sys::rd_kafka_topic_partition_list_t);

impl List {
    fn of<'a>(entries: impl Iterator<Item = (&'a TopicPartition, i64)>) -> Result<Self, Failure> {
        // SAFETY: the list is ours from here on, and each entry is alive as long as it.
        let list = Self(unsafe { sys::rd_kafka_topic_partition_list_new(0) });
        for (at, offset) in entries {
            let topic = c_string(&at.topic)?;
            let partition = i32::try_from(at.partition.0).unwrap_or(i32::MAX);
            // SAFETY: as above; the name is copied.
            unsafe {
                (*sys::rd_kafka_topic_partition_list_add(list.0, topic.as_ptr(), partition)).offset = offset;
            }
        }
        Ok(list)
    }
}

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: it was given to us, once.
        unsafe { sys::rd_kafka_topic_partition_list_destroy(self.0) };
    }
}

struct Options(*mut sys::rd_kafka_AdminOptions_t);

impl Options {
    fn of<C: ClientContext>(
        client: &Client<C>,
        operation: sys::rd_kafka_admin_op_t,
        wait: Duration,
    ) -> Result<Self, Failure> {
        // SAFETY: the client is alive; the options are ours.
        let options = Self(unsafe { sys::rd_kafka_AdminOptions_new(client.native_ptr(), operation) });
        // SAFETY: the options are alive, and no text of an error is asked for.
        let error =
            unsafe { sys::rd_kafka_AdminOptions_set_request_timeout(options.0, millis(wait), ptr::null_mut(), 0) };
        failure(error).map_or(Ok(options), Err)
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: they were given to us, once.
        unsafe { sys::rd_kafka_AdminOptions_destroy(self.0) };
    }
}
