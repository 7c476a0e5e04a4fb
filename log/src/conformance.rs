//! The suite every backend passes: each claim of the contract as a function that takes a backend.
//!
//! Written against the contract alone. A backend's test file makes a [`Backend`] and says
//! `fpaas_log::log_conformance!(TheBackend::new())`: one test per claim, named as the claim.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a claim that does not hold ends its test")]

pub mod atomicity;
pub mod compaction;
pub mod fetching;
pub mod kit;
pub mod membership;
pub mod memory;
pub mod order;
pub mod positions;
pub mod retention;
pub mod survival;
pub mod tail;
pub mod topics;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fpaas_core::Timestamp;

use crate::Log;

/// A log under test, and what can be done to it from outside.
#[async_trait]
pub trait Backend: Send + Sync {
    /// The log as it is open now.
    fn log(&self) -> Arc<dyn Log>;

    /// Ends it as SIGKILL would, with nothing flushed or closed, and opens it again.
    async fn kill_and_reopen(&self);

    /// A name nothing else uses, for a topic, a group or a writer.
    fn fresh(&self, what: &str) -> String;

    /// The time by which the backend keeps its retention.
    fn now(&self) -> Timestamp;

    /// The levers of retention, where it is the backend's own. Claims about it are skipped, loudly, where it is not.
    fn retention(&self) -> Option<&dyn RetentionLevers> {
        None
    }
}

/// Makes time pass and retention happen.
pub trait RetentionLevers: Send + Sync {
    /// Moves the clock.
    fn pass(&self, time: Duration);
    /// Retention and compaction, now, until there is nothing more to do.
    fn run(&self);
    /// How many records went although they were held.
    fn lost(&self) -> u64;
}

/// One test per claim. The expression makes a [`Backend`] and may await.
#[macro_export]
macro_rules! log_conformance {
    ($backend:expr) => {
        $crate::log_conformance! { @each $backend;
            order::records_are_read_in_the_order_they_were_committed,
            order::commits_of_one_caller_keep_their_order,
            order::concurrent_writers_lose_and_double_nothing,
            atomicity::a_transaction_is_seen_whole_or_not_at_all,
            atomicity::records_and_positions_are_committed_together,
            atomicity::a_rejected_transaction_leaves_nothing,
            atomicity::a_rejected_transaction_comes_back_as_it_was,
            atomicity::a_bad_transaction_does_not_stop_those_beside_it,
            positions::a_position_that_was_never_committed_is_none,
            positions::the_last_position_wins_and_keeps_its_metadata,
            positions::positions_of_groups_are_their_own,
            positions::a_writer_without_a_membership_cannot_move_positions,
            membership::the_only_member_gets_every_slot,
            membership::a_second_member_gets_half_once_the_first_let_go,
            membership::the_slots_of_one_that_leaves_go_to_the_other,
            membership::a_member_of_the_same_name_fences_the_old_one,
            membership::who_is_no_member_any_more_commits_nothing_at_all,
            membership::a_position_moves_only_under_a_lease,
            membership::a_position_moves_only_under_the_slot_it_belongs_to,
            membership::a_stale_lease_commits_nothing,
            membership::a_slot_comes_back_with_another_incarnation,
            membership::a_writer_made_anew_fences_the_one_before,
            fetching::a_fetch_begins_at_any_offset,
            fetching::guests_keep_nobody_else_waiting,
            fetching::following_next_reaches_the_end_through_all_gaps,
            fetching::bounds_are_kept_and_one_record_always_comes,
            fetching::every_part_of_a_record_comes_back,
            fetching::a_time_is_the_first_offset_at_or_after_it,
            fetching::timestamps_out_of_order_are_found_at_their_first_match,
            fetching::a_partition_that_is_not_there_is_said_so,
            tail::a_fetch_at_the_end_waits_and_then_answers_empty,
            tail::who_waits_does_nothing_meanwhile,
            tail::each_commit_wakes_everyone_who_waits,
            tail::every_reader_at_a_tail_sees_everything_once,
            topics::a_topic_is_made_once_and_found_again,
            topics::topics_are_listed_by_prefix_in_order,
            topics::retention_can_be_altered,
            topics::a_deleted_topic_is_gone_with_its_records_and_positions,
            topics::deleting_a_topic_ends_the_wait_at_its_tail,
            retention::old_records_go_by_time,
            retention::records_beyond_the_bytes_go_first_in_first_out,
            retention::a_hold_keeps_what_was_not_passed,
            retention::at_the_hard_limit_held_records_go_and_are_counted,
            retention::trimmed_records_are_gone_and_the_low_watermark_never_falls,
            retention::times_are_found_after_trimming,
            compaction::only_the_last_record_of_a_key_stays,
            compaction::a_tombstone_removes_its_key_and_then_itself,
            survival::what_was_acknowledged_is_there_after_a_kill,
            survival::watermarks_and_trims_survive_a_kill,
            survival::leases_of_before_a_kill_are_void,
            survival::deletions_and_compaction_survive_a_kill,
        }
    };
    (@each $backend:expr; $($module:ident :: $claim:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $claim() {
                let backend = $backend;
                $crate::conformance::$module::$claim(&backend).await;
            }
        )*
    };
}
