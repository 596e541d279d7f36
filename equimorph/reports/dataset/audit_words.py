"""The sentences of a label audit: what is ruled out, what is not, and what it cannot see."""

from __future__ import annotations

from collections.abc import Sequence

from equimorph.data.audit.records import LabelAudit, SubgroupEvidence

_VERDICTS = {"trivial": "no move at all", "ruled out": "ruled out", "possible": "possible", "unseen": "not seen"}
_LITTLE_COVERAGE = 0.05  # below this share of samples with another one near, the audit has seen next to nothing


def tell_verdict(evidence: SubgroupEvidence) -> str:
    """One or two words for a table; where a subgroup is the reason, which one."""
    reasons = [name for name in evidence.ruled_out_by if name != evidence.name]
    because = f" (as {join(reasons)} {'is' if len(reasons) == 1 else 'are'})" if reasons else ""
    return _VERDICTS[evidence.verdict] + because


def tell_headline(audit: LabelAudit) -> str:
    """The result in one sentence."""
    ruled_out, possible, unseen = (audit.named(kind) for kind in ("ruled out", "possible", "unseen"))
    least = sorted({name for member in audit.evidence for name in member.ruled_out_by})
    least = [member.name for member in audit.evidence if member.name in least]
    if not ruled_out and not possible:
        return f"The labels of {audit.data} cannot be judged: too few samples meet another one when they are moved."
    if not ruled_out:
        seen = f"nothing contradicts invariance under {join(possible)}"
        rest = f"; of {join(unseen)} too little was seen" if unseen else ""
        return f"The labels of {audit.data}: {seen}{rest}."
    largest = audit.evidence[-1]
    bound = (
        f"; its moves alone would cost at least {100 * audit.excess(largest.name):.1f} % of the samples compared"
        if largest.verdict == "ruled out"
        else ""
    )
    whole = f" and so not under {largest.name}" if largest.name in ruled_out and largest.name not in least else ""
    return f"The labels of {audit.data} are not invariant under {join(least)}{whole}{bound}."


def tell_rest(audit: LabelAudit) -> str:
    """What the headline leaves out: what stands open, and against what the bounds are to be held."""
    parts = []
    possible, unseen = audit.named("possible"), audit.named("unseen")
    if audit.named("ruled out") and possible:
        parts.append(f"Nothing that was seen contradicts {join(possible)}.")
    if audit.named("ruled out") and unseen:
        parts.append(f"Of {join(unseen)} too little was seen to judge.")
    parts.append(
        f"{audit.num_samples:,} of {audit.num_train:,} training samples were compared; "
        f"{100 * audit.base.coverage:.0f} % have another one near without any move, and there "
        f"{100 * audit.base.bound:.2f} % would be labelled wrongly by whatever cannot tell near samples apart."
    )
    return " ".join(parts)


def tell_limits(audit: LabelAudit) -> tuple[str, ...]:
    """What the audit cannot see, in sentences; the first ones are about these data."""
    special = []
    if audit.base.coverage < _LITTLE_COVERAGE:
        special.append(
            f"Only {100 * audit.base.coverage:.1f} % of the samples have another one near: nearly nothing can be said, "
            "not even that there is symmetry. A nearest neighbour has another label in "
            f"{100 * audit.neighbour_error:.0f} % of all cases, so nearness of whole samples says little here."
        )
    if audit.named("unseen"):
        special.append(
            f"Of {join(audit.named('unseen'))}: too few samples come near another one by such moves. They stay among "
            "the suggestions because nothing speaks against them, which is no reason for them."
        )
    return (
        *special,
        "No contradiction is no proof of invariance: the samples that would contradict may not have been drawn.",
        "A bound is from below, and speaks of the samples compared: with more of them more would meet.",
        "Near is not equal. A small detail that decides the label is lost where samples are reduced and blurred; the "
        "radius guards against it only as far as neighbours without a move show it.",
        "Where moved samples look like none that were drawn, a chance resemblance to another class counts as a "
        "contradiction; look at the pairs.",
        "Wrong labels look like contradictions. Those that are as common without a move are taken into account.",
        "Only moves of the whole image, and only those that map the grid onto itself, were tried: not turns by other "
        "angles, and not moves of parts. A layer that sees small parts may keep a symmetry that the labels break.",
    )


def join(names: Sequence[str]) -> str:
    """Names as one enumerates them.

    Example:
        >>> join(["C2", "C4", "D4"])
        'C2, C4 and D4'
    """
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
