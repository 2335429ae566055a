"""What the page says around the values of a fit, by the names its templates use."""

from __future__ import annotations

from diagnose.result.texts import Text

READ_FIRST = Text("page.read-first", "Read this first.")
COUNTS = Text("page.counts", "findings: {counts}")
FITS = Text("page.fits", "{count} fits")
TITLE = Text("page.title", "{name} – diagnose")
FOOT = Text(
    "page.foot",
    "Hover over a number for its full precision. Words: a {version} is the state of the weights after that many "
    "updates; {reevaluated} is what {evaluate} would return for one version.",
)
VERSION = Text("page.version", "version")
REEVALUATED = Text("page.reevaluated", "re-evaluated")

CLOCKS = Text("page.clocks", "Which weights each value was computed with")
NO_CLOCKS = Text("page.no-clocks", "No epoch ended with a logged value, so there is nothing to draw.")

CALLS = Text("page.calls", "The numbers the script got itself")

LEDGERS = Text("page.ledgers", "From logged to evaluated")
LEDGER = Text("page.ledger", "Ledger")
LEDGER_CAPTION = Text(
    "page.ledger-caption",
    "Each bar is one factor's share of the gap; filled bars raise the value, open ones lower it. Whiskers: lowest and "
    "highest share over the orders in which the factors can be walked. The residual is the replay error. All amounts "
    "add up to the gap.",
)
NO_LEDGER = Text("page.no-ledger", "No ledger was computed for this fit.")
LEDGER_TABLE = Text("page.ledger-table", "All ledgers as a table ({count})")
METRIC = Text("page.head.metric", "metric")
EPOCH = Text("page.head.epoch", "epoch")
ROW = Text("page.head.row", "row")
AMOUNT = Text("page.head.amount", "amount")
LOWEST = Text("page.head.lowest", "lowest")
HIGHEST = Text("page.head.highest", "highest")

EPOCHS = Text("page.epochs", "Epochs")
VERSIONS = Text("page.head.versions", "versions")
LEARNING_RATE = Text("page.head.learning-rate", "learning rate")
STEPS_AT = Text("page.head.steps-at", "steps at")
ENDS_AT = Text("page.head.ends-at", "ends at")
COMPUTED_AT = Text(
    "page.computed-at",
    "Training values are computed at the versions under “steps at”{others:select(none=|validation=, validation values "
    "at the version the epoch ends at|again=, re-evaluated ones at the version the epoch ends at|both=, validation "
    "values and re-evaluated ones at the version the epoch ends at)}.{analysed:given( Marked rows were analysed.)}"
    "{left_out:given( {left_out} epochs are left out here; diagnosis.json has them all.)}",
)
NO_EPOCH = Text("page.no-epoch", "No epoch ended.")

RESTORATION = Text("page.restoration", "Restoration: {callback} on {monitor}")
FILED_UNDER = Text("page.head.filed-under", "filed under")
WEIGHTS = Text("page.head.weights", "weights")

SAVED = Text("page.saved", "What the saved files hold")
SAVED_NOTE = Text(
    "page.saved-note",
    "Each file that a ModelCheckpoint wrote, beside the logged value it was chosen for or is named by.",
)
FILE = Text("page.head.file", "file")
WRITTEN_IN = Text("page.head.written-in", "written in epoch")
HOLDS_VERSION = Text("page.head.holds-version", "holds version")
VALUE = Text("page.head.value", "value")
LOGGED = Text("page.head.logged", "logged")
OF_FILE = Text("page.head.of-file", "of the file")
AT = Text("page.head.computed-at", "computed at")
VERDICT = Text("page.head.verdict", "verdict")

POLICIES = Text("page.policies", "What other stopping policies would have kept")
POLICIES_NOTE = Text(
    "page.policies-note",
    "Replayed over the recorded values; nothing was trained again. Judged by {metric} of the weights each would hold."
    "{best:given( {best})}",
)
POLICY = Text("page.head.policy", "policy")
STOPS_AFTER = Text("page.head.stops-after", "stops after epoch")
HOLDS_EPOCH = Text("page.head.holds-epoch", "holds epoch")
OWN_NUMBER = Text("page.head.own-number", "own number")
HELD = Text("page.head.held", "{metric} held")
OPTIMISM = Text("page.head.optimism", "optimism")
TIME_SAVED = Text("page.head.time-saved", "time saved")
NOT_ANSWERABLE = Text("page.not-answerable", "not answerable from this trace: {reason}")

FINDINGS = Text("page.findings", "Findings")
NO_RULE = Text("page.no-rule", "No rule was run.")
NONE_FAILED = Text("page.none-failed", "No rule failed.")
EFFECT = Text("page.effect", "effect on {metric}: {value}")
PASSED = Text("page.passed", "{count} passed: measured, and it did not happen")
NOT_APPLICABLE = Text("page.not-applicable", "{count} not applicable, each with the reason")
OTHERS = Text("page.others", "{not_applicable} not applicable, {passed} passed")
DETAILS = Text("page.details", "Details")

EVIDENCE = Text("page.evidence", "Evidence")
LARGEST_ERROR = Text("page.head.largest-error", "largest error of replay")
TOLERANCE = Text("page.head.tolerance", "tolerance")
LARGEST_RESIDUAL = Text("page.head.largest-residual", "largest residual")
WITHIN = Text("page.within", "✓ within")
BEYOND = Text("page.beyond", "✕ beyond")
MISSING_FIGURE = Text("page.missing-figure", "A figure is missing: {problem}.")
