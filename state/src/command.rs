//! Commands: every change of tenants, their keys and their resources, as a record of the control topic.
//!
//! A command carries everything that is not in the view: its time and its random values, so that every node that
//! applies it comes to the same result. Written as JSON with a version that is compared strictly.

use std::collections::BTreeSet;

use bytes::Bytes;
use fpaas_core::subscription::{Secret, State, Subscription};
use fpaas_core::topic::TopicSettings;
use fpaas_core::{
    Incarnation, KeyHash, KeyId, Message, Offset, PoolId, Scope, SubscriptionId, TenantId, Timestamp, TopicName,
    Violation,
};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// What is written.
const VERSION: u8 = 7;
/// What is read, too: it had no `expects`, 2 no [`Change::DeleteTopic`], 4 no [`Change::DisableSubscription`], and 5 no
/// [`Change::StartRedrive`], and of a webhook no `signing`, and 6 of a webhook no `clientCertificate`.
const OLDEST: u8 = 1;
/// From this one on a tenant can be put into another pool; before, that was refused, and stays so.
const MOVES: u8 = 3;
/// From this one on a topic has an incarnation, a change is of the subscription that was meant, and the tenant that
/// nobody made is there in revision 0. What came of an older command stays what it was, for whoever applies it when.
const EXACT: u8 = 4;
/// From this one on a tenant has a topic `system`, made with a subscription.
const SYSTEM: u8 = 6;

/// One change that somebody asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Command {
    v: u8,
    /// Chosen by whoever asks; a repeated one returns its first result.
    pub id: String,
    /// When it was asked for.
    pub time: Timestamp,
    /// Whose resource it changes, or which tenant.
    pub tenant: TenantId,
    /// The tenant as whoever asked has seen it: where it is another by now, or gone, the command finds nothing. Absent
    /// of the tenant that nobody made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<Incarnation>,
    /// What must hold of the resource when the command is applied; else it changes nothing.
    #[serde(default, skip_serializing_if = "Expects::is_anything")]
    pub expects: Expects,
    /// Where it is to be done once, however often it is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub once: Option<Once>,
    /// What is asked for.
    pub change: Change,
}

/// By what a request is known again that is to be done once (`Idempotency-Key`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Once {
    /// What whoever asks has called it, hashed.
    pub key: String,
    /// Of all that it asks for: the same key with another one is a mistake.
    pub fingerprint: String,
}

/// A precondition on the resource's revision (RFC 9110 section 13), decided where the command is applied: of two who
/// write the same revision at once, one wins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Expects {
    /// Nothing.
    #[default]
    Anything,
    /// That it is not there.
    Absent,
    /// That it is there.
    Present,
    /// That it is there in one of these revisions.
    OneOf(Vec<u64>),
    /// That it is in none of these revisions, there or not.
    NoneOf(Vec<u64>),
}

impl Expects {
    /// True of `current`, the resource's revision if it is there.
    pub fn holds(&self, current: Option<u64>) -> bool {
        match self {
            Self::Anything => true,
            Self::Absent => current.is_none(),
            Self::Present => current.is_some(),
            Self::OneOf(revisions) => current.is_some_and(|current| revisions.contains(&current)),
            Self::NoneOf(revisions) => current.is_none_or(|current| !revisions.contains(&current)),
        }
    }

    /// True where nothing is expected.
    pub fn is_anything(&self) -> bool {
        *self == Self::Anything
    }
}

/// What a command asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(clippy::large_enum_variant, reason = "most commands are the large one")]
pub enum Change {
    /// Create or replace.
    PutSubscription {
        /// Its id.
        id: SubscriptionId,
        /// What it is from now on; valid, with its output topic free of collisions when it was asked for.
        subscription: Subscription,
        /// Random: its secret, if it is new and brings none.
        secret: Secret,
        /// Where it starts in each partition of its source, if it is new.
        starts: Vec<Offset>,
    },
    /// Pause, or go on.
    SetState {
        /// Its id.
        id: SubscriptionId,
        /// Which subscription of that id, as whoever asked has seen it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<Incarnation>,
        /// What it is from now on.
        state: State,
    },
    /// Call its endpoint no more until somebody makes it active: a dispatcher says so, not a person.
    DisableSubscription {
        /// Its id.
        id: SubscriptionId,
        /// Which subscription of that id.
        of: Incarnation,
        /// A sentence.
        why: Message,
    },
    /// Another secret: the one before it signs beside it for a while.
    RotateSecret {
        /// Its id.
        id: SubscriptionId,
        /// Which subscription of that id, as whoever asked has seen it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<Incarnation>,
        /// The new one.
        secret: Secret,
        /// Until when the old one signs, too.
        until: Timestamp,
    },
    /// Deliver a part of the source again, instead of any other part that is being delivered again.
    StartReplay {
        /// Its id.
        id: SubscriptionId,
        /// Which subscription of that id.
        of: Incarnation,
        /// Its last replay, which is over, if there was one: where it is another by now, nothing is begun.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instead_of: Option<u64>,
        /// Its source: which cannot change, and says what the offsets are of.
        source: TopicName,
        /// Where it begins in each partition of the source.
        from: Vec<Offset>,
        /// Where it ends: what is there is not delivered again.
        to: Vec<Offset>,
        /// At most so many events a second, in each partition.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        events_per_second: Option<u32>,
    },
    /// Deliver no more of it.
    CancelReplay {
        /// Its id.
        id: SubscriptionId,
        /// Which subscription of that id.
        of: Incarnation,
        /// Which of its replays.
        since: u64,
    },
    /// Deliver dead letters again, instead of any others that are being delivered again.
    StartRedrive {
        /// Its id.
        id: SubscriptionId,
        /// Which subscription of that id.
        of: Incarnation,
        /// Its last redrive, which is over, if there was one: where it is another by now, nothing is begun.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instead_of: Option<u64>,
        /// Where it begins in each lane's dead letters.
        from: Vec<Offset>,
        /// Where it ends: what is there is not delivered again.
        to: Vec<Offset>,
        /// Of those that were given up on for one of these reasons; of all where there is none.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        reasons: BTreeSet<String>,
        /// At most so many events a second, in all lanes together.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        events_per_second: Option<u32>,
    },
    /// Deliver no more of them.
    CancelRedrive {
        /// Its id.
        id: SubscriptionId,
        /// Which subscription of that id.
        of: Incarnation,
        /// Which of its redrives.
        since: u64,
    },
    /// Remove with its deliveries and dead letters.
    DeleteSubscription {
        /// Its id.
        id: SubscriptionId,
    },
    /// Create, or change what can be changed.
    PutTopic {
        /// Its name.
        name: TopicName,
        /// Its settings from now on.
        settings: TopicSettings,
    },
    /// Remove a topic that no subscription reads or writes.
    DeleteTopic {
        /// Its name.
        name: TopicName,
    },
    /// A deleted topic is gone from the log, too: its name can be used again from a time on at which no node can be
    /// about to remove it any more.
    FreeTopic {
        /// Its name.
        name: TopicName,
        /// The revision it was deleted at.
        since: u64,
        /// From when on.
        free: Timestamp,
    },
    /// Create the command's tenant, or move it to another pool.
    PutTenant {
        /// The pool it is in from now on. Absent: its own where it is new, else the one it is in.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pool: Option<PoolId>,
    },
    /// The command's tenant has arrived: all slots of its pool have what the old one has handed over.
    EndMove {
        /// The revision at which the move began.
        since: u64,
    },
    /// Remove the command's tenant with its keys, once it has nothing else.
    DeleteTenant {},
    /// Create a key of the command's tenant.
    PutKey {
        /// Random: its id.
        id: KeyId,
        /// Of its whole text.
        hash: KeyHash,
        /// What it permits.
        scopes: BTreeSet<Scope>,
        /// What its owner calls it.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        description: String,
        /// From then on it opens nothing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires: Option<Timestamp>,
    },
    /// Remove a key of the command's tenant.
    DeleteKey {
        /// Its id.
        id: KeyId,
    },
}

/// What a command came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It is new.
    Created,
    /// It was there and is replaced.
    Replaced,
    /// It is gone.
    Deleted,
    /// There is no such thing.
    NotFound,
    /// It cannot be so beside what is there: 409.
    Conflict(Vec<Violation>),
    /// The resource is not as expected, but in this revision, or not there: 412.
    Unexpected(Option<u64>),
    /// It was asked for before, and is not done again.
    Repeated {
        /// What it came to then.
        outcome: Box<Outcome>,
        /// The key that it made then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        made: Option<KeyId>,
    },
    /// Something else was asked for under that key before: 422.
    Reused,
}

impl Command {
    /// A command of this version.
    pub const fn new(id: String, time: Timestamp, tenant: TenantId, change: Change) -> Self {
        Self { v: VERSION, id, time, tenant, made: None, expects: Expects::Anything, once: None, change }
    }

    /// The same, to be applied only while its tenant is this one.
    #[must_use]
    pub fn of(self, made: Option<Incarnation>) -> Self {
        Self { made, ..self }
    }

    /// The same, to be applied only where this holds.
    #[must_use]
    pub fn expecting(self, expects: Expects) -> Self {
        Self { expects, ..self }
    }

    /// The same, to be done once.
    #[must_use]
    pub fn once(self, once: Option<Once>) -> Self {
        Self { once, ..self }
    }

    /// The resource it is about: the record's key.
    pub fn path(&self) -> String {
        match &self.change {
            Change::PutSubscription { id, .. }
            | Change::SetState { id, .. }
            | Change::DisableSubscription { id, .. }
            | Change::RotateSecret { id, .. }
            | Change::StartReplay { id, .. }
            | Change::CancelReplay { id, .. }
            | Change::StartRedrive { id, .. }
            | Change::CancelRedrive { id, .. }
            | Change::DeleteSubscription { id } => {
                format!("{}/subscriptions/{id}", self.tenant)
            }
            Change::PutTopic { name, .. } | Change::DeleteTopic { name } | Change::FreeTopic { name, .. } => {
                format!("{}/topics/{name}", self.tenant)
            }
            Change::PutTenant { .. } | Change::EndMove { .. } | Change::DeleteTenant {} => self.tenant.to_string(),
            Change::PutKey { id, .. } | Change::DeleteKey { id } => format!("{}/keys/{id}", self.tenant),
        }
    }

    /// True where it may put a tenant into another pool: what was refused once is refused again.
    pub(crate) const fn may_move(&self) -> bool {
        self.v >= MOVES
    }

    /// True where what it is about is told from what had the same name before.
    pub(crate) const fn is_exact(&self) -> bool {
        self.v >= EXACT
    }

    /// True where the tenant gets a topic `system` with a subscription.
    pub(crate) const fn makes_system(&self) -> bool {
        self.v >= SYSTEM
    }

    /// The subscription that it is about, and no other of its id.
    pub(crate) fn means(&self) -> Option<(&SubscriptionId, Incarnation)> {
        let (id, of) = match &self.change {
            Change::SetState { id, of, .. } | Change::RotateSecret { id, of, .. } => (id, *of),
            Change::StartReplay { id, of, .. }
            | Change::CancelReplay { id, of, .. }
            | Change::StartRedrive { id, of, .. }
            | Change::CancelRedrive { id, of, .. }
            | Change::DisableSubscription { id, of, .. } => (id, Some(*of)),
            _ => return None,
        };
        of.filter(|_| self.is_exact()).map(|of| (id, of))
    }

    /// As the control topic holds it.
    pub fn encode(&self) -> Result<Bytes> {
        serde_json::to_vec(self).map(Bytes::from).map_err(|error| corrupt(&error.to_string()))
    }

    /// From the control topic. A version that this program does not know is refused: it must not guess what it says.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Versioned {
            v: u8,
        }
        let wrong = |error: serde_json::Error| corrupt(&error.to_string());
        let read = serde_json::from_slice::<Self>(bytes);
        let v = match &read {
            Ok(command) => command.v,
            // What a newer version says may be anything.
            Err(_) => serde_json::from_slice::<Versioned>(bytes).map_err(wrong)?.v,
        };
        if !(OLDEST..=VERSION).contains(&v) {
            return Err(corrupt(&format!("its version is {v}, and this program knows {OLDEST} to {VERSION}")));
        }
        read.map_err(wrong)
    }
}

fn corrupt(why: &str) -> Error {
    Error::Corrupt { what: "a command of the control topic".to_owned(), why: why.to_owned() }
}
