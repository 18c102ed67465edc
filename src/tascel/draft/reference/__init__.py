"""What the kernels compute, said plainly and slowly, for reading and for testing them.

Texts are lists of ids; a match is (depth, starts) with `starts` in suffix order instead of an
interval of the suffix array. A rule gets a `Place` and gives its candidates.
"""

from tascel.draft.reference.copying import (
    Copying,
    copy,
    first_tokens,
    freeze,
    go_on,
    point,
    template,
    within_word,
    written,
)
from tascel.draft.reference.evidence import calibrated, credit, gather
from tascel.draft.reference.growing import Bounds, Node, grow, grow_best
from tascel.draft.reference.matching import (
    Match,
    Occurrence,
    advance_spread,
    ending,
    lengths,
    matches,
    narrowed,
    occurrences,
    spread,
    suffix_array,
    top,
)
from tascel.draft.reference.placing import (
    Known,
    Place,
    all_sizes,
    follow,
    narrow,
    only_matches,
    start,
)
from tascel.draft.reference.recalling import Recollection, recollections, top_of_recalled
from tascel.draft.reference.rules import Candidate, Rule, backoff, interpolate, longest

__all__ = [
    "Bounds",
    "Candidate",
    "Copying",
    "Known",
    "Match",
    "Node",
    "Occurrence",
    "Place",
    "Recollection",
    "Rule",
    "advance_spread",
    "all_sizes",
    "backoff",
    "calibrated",
    "copy",
    "credit",
    "ending",
    "first_tokens",
    "follow",
    "freeze",
    "gather",
    "go_on",
    "grow",
    "grow_best",
    "interpolate",
    "lengths",
    "longest",
    "matches",
    "narrow",
    "narrowed",
    "occurrences",
    "only_matches",
    "point",
    "recollections",
    "spread",
    "start",
    "suffix_array",
    "template",
    "top",
    "top_of_recalled",
    "within_word",
    "written",
]
