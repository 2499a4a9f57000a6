"""The cases that would embarrass an audit log, each with the tests that hold it off; none may lose its test unnoticed.

A: of the log. R: of the store and its faults. What has no test stands in OPEN with its reason, and nowhere else.
"""

import re

import pytest

from tests.conftest import ROOT

CASES = {
    "A01 tail cut, head rewritten and signed anew": (
        "audit/test_shell_anchors.py::test_records_cut_off_and_the_head_rewritten_and_signed_anew_are_found",
        "audit/test_shell_witnesses.py::test_two_histories_of_one_log_are_proved_by_the_witness",
        "api/test_receipts.py::test_a_record_that_was_taken_out_convicts_the_log",
    ),
    "A02 the database of yesterday": (
        "audit/test_shell_anchors.py::test_yesterday_s_database_starts_read_only_and_names_both_sizes",
        "audit/test_shell_anchors.py::test_a_missing_anchor_is_read_only_and_is_not_made_anew",
        "cli/test_anchors.py::test_yesterday_s_database_is_refused_with_both_sizes_and_forked_by_two",
    ),
    "A03 two writers, one asleep": (
        "cli/test_takeover.py::test_the_one_that_wakes_up_writes_nothing_and_says_why",
        "audit/test_shell_anchors.py::test_another_signer_of_the_same_log_is_found",
        "db/test_commit_faults.py::test_somebody_else_moving_the_head_is_noticed_and_nothing_is_written",
    ),
    "A04 crash between change and record": (
        "db/test_kill.py::test_nothing_acknowledged_is_lost_and_nothing_is_half_there",
        "faults/test_power.py::test_nothing_acknowledged_is_lost",
    ),
    "A05 a node that wakes between intent and outcome": (
        "gate/test_intents.py::test_an_outcome_that_comes_after_the_sweep_is_late",
        "gate/test_intents.py::test_a_late_refusal_is_late_too",
    ),
    "A07 text that breaks readers": (
        "audit/test_formats.py::test_a_record_is_one_line_and_no_value_ends_or_forges_one",
        "audit/test_formats.py::test_no_csv_cell_is_a_formula",
        "audit/test_entry.py::test_the_largest_body_and_one_byte_more",
    ),
    "A08 the clock": (
        "audit/test_publication.py::test_two_persons_accept_a_clock_that_was_a_year_ahead",
        "audit/test_publication.py::test_a_regression_is_recorded_once_while_checkpoints_wait_and_requests_go_on",
        "faults/test_processes.py::test_nothing_acknowledged_is_lost",
    ),
    "A09 a full disk": (
        "cli/test_anchors.py::test_a_full_disk_refuses_fast_and_guard_goes_on_by_itself",
        "db/test_commit_faults.py::test_a_full_disk_inside_a_savepoint_fails_the_whole_group",
    ),
    "A10 one fsync fails": (
        "faults/test_power.py::test_a_failed_sync_of_the_log_ends_the_process_and_that_of_a_checkpoint_is_written_again",
    ),
    "A11 a stolen key": (
        "audit/test_stolen_key.py::test_a_thief_s_note_fails_the_quorum",
        "audit/test_stolen_key.py::test_a_longer_log_by_the_thief_is_refused_by_name",
        "audit/test_stolen_key.py::test_an_export_from_before_still_verifies_under_the_ranges_of_today",
    ),
    "A12 a large export under load": (
        "audit/test_export_campaign.py::test_an_export_beside_writers_keeps_memory_and_its_manifest",
        "audit/test_export_kill.py::test_an_export_that_is_killed_again_and_again_ends_whole",
    ),
    "A13 a person is erased": (
        "audit/test_erasure_bytes.py::test_no_byte_of_the_person_leaves_before_or_after_the_erasure",
        "audit/test_shell_erasure.py::test_no_byte_of_the_person_is_left_in_any_file_and_the_log_is_the_same",
        "audit/test_shell_erasure.py::test_a_hold_refuses_the_erasure_and_the_refusal_is_on_record",
    ),
    "A14 one bit flipped anywhere": (
        "audit/test_tamper.py::test_one_flipped_bit_in_any_byte_of_any_file_is_found_and_named",
        "audit/test_scrub.py::test_a_flipped_bit_of_a_file_is_named",
        "audit/test_scrub.py::test_a_changed_row_of_the_index_is_named",
        "audit/test_shell_checkpoints.py::test_a_store_that_is_no_continuation_is_not_signed",
        "audit/test_shell_witnesses.py::test_a_cosignature_that_does_not_verify_is_not_kept",
        "audit/test_verify_exports.py::test_a_changed_part_is_named",
    ),
    "A15 pruned, then proved": (
        "audit/test_prune.py::test_proofs_from_checkpoints_before_the_prune_still_hold",
        "audit/test_prune.py::test_a_pruned_record_answers_by_name_and_the_same_for_everybody",
        "audit/test_prune.py::test_a_hold_refuses_the_request_the_approval_and_the_sweep",
    ),
    "A16 sizes round full tiles, and nothing": (
        "audit/test_foreign.py::test_both_agree_around_full_tiles",
        "audit/test_empty_ranges.py::test_nothing_is_exported_and_the_log_is_proved_all_the_same",
    ),
    "A17 a dictionary of all addresses": (
        "audit/test_shell_canaries.py::test_a_dictionary_of_all_addresses_of_a_network_finds_none",
    ),
    "A18 a sink that swallows": (
        "audit/test_shell_sinks.py::test_a_black_hole_slows_no_request",
        "audit/test_shell_sinks.py::test_a_black_hole_raises_the_alarm_and_when_it_is_gone_there_is_no_gap",
    ),
    "A19 files removed or cut while in use": (
        "db/test_presence.py::test_a_file_that_was_removed",
        "db/test_presence.py::test_a_wal_that_was_cut",
        "audit/test_tile_watch.py::test_a_file_that_was_taken_away_or_changed",
    ),
    "A20 a row removed or changed by hand": (
        "api/test_receipts.py::test_a_record_that_was_taken_out_convicts_the_log",
        "audit/test_shell_search.py::test_an_index_that_somebody_changed_is_named_with_its_column",
    ),
    "A21 another tenant's records": (
        "audit/test_shell_records.py::test_a_record_of_another_tenant_is_not_proved_and_does_not_exist",
        "audit/test_shell_export_jobs.py::test_a_tenant_s_auditor_gets_nothing_of_others_and_is_on_record",
        "audit/test_shell_evidence.py::test_a_tenant_s_auditor_gets_no_record_of_another_and_is_not_told_that_there_is_one",
    ),
    "A22 somebody tries to switch it off": (
        "audit/test_no_off_switch.py::test_no_operation_stops_pauses_or_redirects_it",
        "audit/test_no_off_switch.py::test_no_setting_does",
        "audit/test_shell_sinks.py::test_what_joins_and_what_leaves_the_configuration_is_a_record_before_it_takes_effect",
    ),
    "A24 files of an earlier release": (
        "audit/test_release.py::test_it_verifies_under_the_key_and_from_the_checkpoint_of_then",
    ),
    "A25 a flood of bad credentials": (
        "audit/test_floods.py::test_many_sources_cost_a_record_each_and_no_attempt_is_uncounted",
        "audit/test_floods.py::test_work_with_a_good_token_keeps_its_share_of_a_small_queue",
    ),
    "R01 a blind harness": (
        "faults/test_power.py::test_the_harness_sees_what_is_lost_without_a_sync_at_each_commit",
        "faults/test_processes.py::test_the_order_check_sees_an_answer_that_is_too_early",
    ),
    "R02 a cut while recovering from a cut": (
        "faults/test_power.py::test_nothing_acknowledged_is_lost",
        "audit/test_disk.py::test_a_second_cut_while_repeating_is_no_different",
    ),
    "R03 a sync that would succeed the second time": (
        "faults/test_power.py::test_a_failed_sync_of_the_log_ends_the_process_and_that_of_a_checkpoint_is_written_again",
        "db/test_commit_faults.py::test_a_commit_of_unknown_outcome_is_told_to_all_and_calls_for_the_end",
    ),
    "R04 a name without its content": (
        "audit/test_disk.py::test_at_every_moment_a_name_has_its_whole_content_or_is_not_there",
    ),
    "R05 killed between anchor and publication": (
        "audit/test_shell_anchors.py::test_a_crash_between_swap_and_publication_publishes_the_anchor_s_note",
    ),
    "R06 a witness that never answers": (
        "audit/test_shell_witnesses.py::test_one_that_is_down_costs_a_second_and_no_request",
        "audit/test_shell_witnesses.py::test_a_trickle_of_bytes_ends_after_a_second",
    ),
    "R07 the old writer resumed": ("cli/test_takeover.py::test_the_one_that_wakes_up_writes_nothing_and_says_why",),
    "R09 more work than can be done": (
        "db/test_commit.py::test_a_full_queue_refuses_at_once_and_does_nothing",
        "gate/test_http.py::test_a_full_queue_is_503_with_retry_after_and_nothing_happens",
    ),
    "R10 files deleted under the process": ("db/test_presence.py::test_a_file_that_was_removed",),
    "R11 a migration killed": ("db/test_migration_killed.py::test_old_or_new_and_never_between",),
    "R12 a backup under load, restored elsewhere": (
        "audit/test_backup.py::test_it_opens_goes_on_and_verifies",
        "audit/test_backup.py::test_beside_the_anchor_it_is_a_rollback_with_both_sizes",
        "audit/test_backup.py::test_who_was_erased_before_it_is_in_no_byte_of_it",
    ),
    "R13 a failpoint in production": ("faults/test_processes.py::test_a_production_start_refuses_a_failpoint",),
}
OPEN = {
    "A06": "no operation takes an Idempotency-Key yet: a lost answer is repeated as a new operation",
    "A23": "settings of PostgreSQL, which is no back-end yet; those of SQLite are held by db/test_engine.py",
    "R08": "a promoted replica, which PostgreSQL would bring",
}
ALL = [f"A{number:02}" for number in range(1, 26)] + [f"R{number:02}" for number in range(1, 14)]


@pytest.mark.parametrize("case", CASES)
def test_its_tests_are_there(case):
    for place in CASES[case]:
        file, _, name = place.partition("::")
        text = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert re.search(rf"^ *def {name}\(", text, re.MULTILINE), f"{case}: {place} is gone"


def test_every_case_has_tests_or_a_reason():
    assert sorted([case[:3] for case in CASES] + list(OPEN)) == sorted(ALL)
