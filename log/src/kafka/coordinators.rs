//! What is asked of the groups' coordinators, by a client that is thrown away when one does not answer as it should.
//!
//! Three things of librdkafka (seen in 2.12.1) make it so:
//!
//! - It keeps a coordinator request whose deadline is over, and sends it when the coordinator is back. Its own state
//!   was freed at the deadline, so it is refused (`rd_kafka_admin_coord_request` answers `_DESTROY`), called back a
//!   second time (`rd_kafka_coord_req_fail`), and an assertion ends the process. So no request here has a deadline that
//!   can be reached: we stop waiting, and give the client back, which ends its requests well.
//! - An answer `NOT_COORDINATOR` is handed to the client's own group without asking whether it has one
//!   (`rd_kafka_handle_OffsetFetch`): a client that is no consumer ends the process. So this one is.
//! - Who was the coordinator is believed for 15 minutes, whatever it answers. A new client does not know.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use fpaas_core::TopicPartition;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::types::RDKafkaErrorCode as Code;

use super::config::KafkaConfig;
use super::context::{Quiet, Trouble};
use super::error::Failure;
use super::ffi::{self, GroupOffsets};

/// See the module's head.
pub(super) struct Coordinators {
    config: KafkaConfig,
    trouble: Trouble,
    client: Mutex<Option<Arc<BaseConsumer<Quiet>>>>,
}

impl Coordinators {
    pub(super) fn new(config: &KafkaConfig, trouble: &Trouble) -> Self {
        Self { config: config.clone(), trouble: trouble.clone(), client: Mutex::default() }
    }

    /// The group's committed offsets with their metadata. Blocks until they are there, or for `request_wait`.
    pub(super) fn offsets(&self, group: &str, at: &[TopicPartition], stable: bool) -> Result<GroupOffsets, Failure> {
        let client = self.client()?;
        let asked = ffi::group_offsets(client.client(), group, at, stable, self.config.request_wait);
        let is_spent = |code| matches!(code, Code::OperationTimedOut | Code::NotCoordinator);
        let spent = match &asked {
            Err(failed) => is_spent(failed.code),
            Ok(answers) => answers.values().any(|answer| answer.as_ref().is_err_and(|code| is_spent(*code))),
        };
        if spent {
            self.give_back(client);
        }
        asked
    }

    fn client(&self) -> Result<Arc<BaseConsumer<Quiet>>, Failure> {
        let mut kept = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*kept {
            return Ok(Arc::clone(client));
        }
        let made: BaseConsumer<Quiet> = self.config.fetcher().create_with_context(Quiet(self.trouble.clone()))?;
        ffi::serve_tokens(made.client());
        let made = Arc::new(made);
        Ok(Arc::clone(kept.insert(made)))
    }

    /// Whoever comes next makes another one. This one goes when the last request of it is over.
    fn give_back(&self, client: Arc<BaseConsumer<Quiet>>) {
        let mut kept = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = kept.take_if(|kept| Arc::ptr_eq(kept, &client));
        drop(kept);
        // Its end waits for its threads, and nobody waits for that.
        let ended = thread::Builder::new().name("kafka-given-back".to_owned()).spawn(move || drop((ours, client)));
        if let Err(error) = ended {
            tracing::warn!(%error, "no thread to end a client in");
        }
    }
}
