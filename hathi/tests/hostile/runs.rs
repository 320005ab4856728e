//! What once lost acknowledged data on real processes, done to them again. `interop/src/hostile` says what each run does;
//! `cargo run -p hathi-interop --bin hostile` repeats them.

use anyhow::Result;
use hathi_interop::Hadoop;
use hathi_interop::hostile::{self, Setup};
use std::path::Path;

fn run(name: &str) -> Result<()> {
    let hadoop = Hadoop::get()?;
    let setup = Setup {
        hathi: Path::new(env!("CARGO_BIN_EXE_hathi")),
        hadoop: hadoop.as_ref(),
    };
    hostile::run(name, &setup)
}

#[test]
fn safety_01_a_truncate_holds_when_the_active_dies_before_it_is_done() -> Result<()> {
    run("truncate-failover")
}

#[test]
fn safety_01_a_truncate_holds_through_a_checkpoint_and_a_restart() -> Result<()> {
    run("truncate-checkpoint")
}

#[test]
fn safety_01_a_truncate_holds_when_its_recovery_expires() -> Result<()> {
    run("truncate-expired")
}

#[test]
fn safety_02_no_image_of_lost_edits_is_published() -> Result<()> {
    run("image-of-lost-edits")
}

#[test]
fn safety_03_flushed_bytes_survive_a_recovery_that_comes_before_the_datanodes() -> Result<()> {
    run("hflush-restart")
}

#[test]
fn safety_03_what_hadoops_client_flushed_survives_it_too() -> Result<()> {
    run("hflush-restart-hadoop")
}

#[test]
fn safety_04_a_file_whose_close_was_lost_is_closed_by_recover_lease() -> Result<()> {
    run("uncommitted-recover-lease")
}

#[test]
fn safety_04_a_file_whose_close_was_lost_is_closed_by_the_hard_limit() -> Result<()> {
    run("uncommitted-hard-limit")
}

#[test]
fn safety_05_two_actives_do_not_delete_all_replicas_between_them() -> Result<()> {
    run("deletions")
}

#[test]
fn safety_05_slow_deletions_and_failovers_leave_every_file_readable() -> Result<()> {
    run("deletions-struck")
}

#[test]
fn safety_07b_containers_that_share_only_the_network_do_not_harm_each_other() -> Result<()> {
    run("shared-network")
}

#[test]
fn safety_08_an_active_that_is_stuck_inside_is_replaced() -> Result<()> {
    run("stuck-inside")
}

#[test]
fn safety_08_an_active_whose_directory_is_full_is_replaced() -> Result<()> {
    run("directory-full")
}

#[test]
fn safety_09_a_clock_that_stood_makes_no_stale_reads() -> Result<()> {
    run("clock-stands")
}

#[test]
fn safety_09_a_lease_outlives_the_limit_that_it_was_promised_under() -> Result<()> {
    run("lease-limit-lowered")
}

#[test]
fn safety_10_a_rotten_replica_is_replaced_after_a_failover() -> Result<()> {
    run("corrupt-failover")
}

#[test]
fn safety_10_a_rotten_replica_never_pushes_the_good_one_out() -> Result<()> {
    run("corrupt-lowered")
}

#[test]
fn safety_11_a_call_kept_by_a_standby_overwrites_nothing_newer() -> Result<()> {
    run("late-call-kept")
}

#[test]
fn safety_11_a_call_between_two_namenodes_overwrites_nothing_newer() -> Result<()> {
    run("late-call-forwarded")
}

#[test]
fn safety_13_no_reader_of_the_journal_gets_an_edit_before_it_is_on_disks() -> Result<()> {
    run("edits-before-disks")
}

#[test]
fn safety_n1_paths_that_outgrow_the_edit_log_are_refused() -> Result<()> {
    run("deep-paths")
}

#[test]
fn no_daemon_dies_of_a_log_that_is_full() -> Result<()> {
    run("log-full")
}

#[test]
fn a_namenode_refuses_directories_that_are_not_its_own() -> Result<()> {
    run("foreign-directories")
}
