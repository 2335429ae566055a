"""What the values that findings rest on are called. The names in `diagnosis.json` are the same in every language."""

from __future__ import annotations

from diagnose.result.text import printable
from diagnose.result.texts import Text

_NAMES = """
    absent after_the_updates all amount average_value batch batch_size batches batches_covered batches_done
    batches_never_used
    batches_of_an_epoch because_of before before_the_updates best_after best_at_start best_epoch best_logged
    better by_data_coverage by_timing callback callbacks callbacks_behind calls carried_in cells_right changed
    changed_in_steps code compared_for comparison computed_at_version computed_at_versions computed_with
    continues_earlier_fit counts data_coverage data_loss decided_by different_rows different_weights differing done
    end_of_epoch epoch epochs epochs_without equal_rows_within_training error evaluated
    evaluated_after_first_epoch evaluated_at_start file first_batch first_epoch first_logged
    first_reached_epoch first_reached_value first_value first_weights fit from_zero_state frozen given handed held
    held_epoch held_value held_version here high highest_of_a_batch highest_step_value hook in_one_batch
    initial_epoch initial_share inputs jump kept_epoch kept_logged key known_by label_dtype label_shape labels
    loaded largest_change largest_gap_by_timing last_epoch layers ledger_epoch line logged logged_in_epochs loss
    losses losses_counted_so low lowered_in_epochs lowest_of_a_batch lowest_step_value map masking_layers
    matches metric metrics mode momentum monitor monitors names nearest next_epoch_now next_epoch_then
    not_of_that_moment of_the_batch one_update_later only_in_training only_in_validation
    optimizer_at_end_of_that_fit optimizer_at_start optimizer_of optimizer_then other_rows_each_epoch
    other_validation_rows_each_epoch output_units over_all_batches own_best_epoch own_best_logged passes
    penalties plateau plateau_waited predicted_values proof random_splits_as_far random_splits_compared rate
    rate_lowered_in_epochs recognised_by relative replaced_epoch replaced_trace replaced_value residual
    restored returned restored_epoch restored_logged restored_value rows rows_done rows_in_all rows_in_every_pass
    rows_of_all_epochs rows_of_an_epoch rows_on_both_sides rows_right same_function same_optimizer_object
    saved saved_epochs saved_value saved_weights saved_without scored_after scored_before script second_value
    settings steps steps_checked steps_per_epoch steps_with_another_loss stopped stopping threshold
    total_variation_distance training_counts training_rows training_rows_of_an_epoch unchanged updated_in_steps updates
    validated validation_counts validation_proof validation_rows validation_rows_not_in_an_earlier_pass
    validation_rows_of_a_pass validation_rows_trained_on_before validation_rows_trained_on_in_earlier_fits
    validation_split validation_steps values version wait_at_start way weight_by_label weighted_by_rows
    weights weights_at_start weights_of whatever_is_predicted without_effect written_by
"""

NAMES = {name: Text(f"evidence-name.{name}", name.replace("_", " ")) for name in _NAMES.split()}
LEFT_OUT = Text("evidence-name.left-out", "left out")


def evidence_name(name: str) -> str:
    """A name for people; of a name that no rule of this release uses, the name itself."""
    if name == "left out":
        return LEFT_OUT.say()
    return NAMES[name].say() if name in NAMES else printable(name).replace("_", " ")
