//! How far a node has come: what `/readyz` says.

use schemars::JsonSchema;
use serde::Serialize;

/// How far the node has come between its start and its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// What was configured is not known yet.
    #[default]
    Starting,
    /// It is, and the API answers; a stage of a pool has no slots yet, or has not restored what belongs to them.
    Assigning,
    /// Everything runs that this node is to run.
    Ready,
    /// It was asked to stop.
    Stopping,
}
