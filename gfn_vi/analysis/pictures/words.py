"""What figures call metrics and settings: words with units, from the names of files and configurations."""

from __future__ import annotations

from collections.abc import Iterable

from gfn_vi.core.headline import Headline

METRICS = {
    "kl_forward": "KL(target, learned) (nats)",
    "kl_reverse": "KL(learned, target) (nats)",
    "total_variation": "Total variation distance",
    "l1": "L1 distance",
    "log_Z": "log Z (nats)",
    "log_Z_error": "Error of log Z (nats)",
    "elbo": "ELBO (nats)",
    "eubo": "EUBO (nats)",
    "bound_gap": "EUBO - ELBO (nats)",
    "ess": "Effective sample size (fraction)",
    "ess_forward": "Forward effective sample size (fraction)",
    "modes_covered": "Modes covered",
    "modes_visited": "Modes visited",
    "loss": "Loss",
    "grad_norm": "Norm of the gradient",
}
SAMPLED = "sampled_"  # before the name of a metric that is estimated from samples
_AS_WRITTEN = ("KL", "TB", "DB", "VI", "MALA", "ELBO", "EUBO", "ESS", "MMD", "DAG", "MLP", "Z")
ACRONYMS = {word.lower(): word for word in _AS_WRITTEN}
HYPHENS = ("wake-sleep", "off-policy", "on-policy", "leave-one-out", "log-variance")  # words that belong together
SHORTEST = 5  # letters of a metric's first word that gets a capital letter: shorter ones may be symbols


def metric_in_words(name: str, headlines: Iterable[Headline] = ()) -> str:
    """Return the label of an axis for a metric; headlines: what the runs themselves call it."""
    if name in METRICS:
        return METRICS[name]
    told = next((headline.words for headline in headlines if headline.metric == name), None)
    if told is None and name.startswith(SAMPLED):
        rest = metric_in_words(name.removeprefix(SAMPLED))
        return f"Sampled {rest if rest[:2].isupper() else rest[:1].lower() + rest[1:]}"
    if told is None:
        return _capital(" ".join(ACRONYMS.get(word, word) for word in name.split("_")))
    return told[:1].upper() + told[1:]


def in_words(name: str) -> str:
    """Return a choice or a key as words: "reverse_kl" is "Reverse KL", "trainer.batch_size" is "Batch size"."""
    path = name.rpartition("/")[2]
    last = path.rpartition(".")[2] if path.replace(".", "").replace("_", "").isalpha() else path
    text = " ".join(ACRONYMS.get(word.lower(), word) for word in last.removeprefix("n_").split("_"))
    for together in HYPHENS:
        text = text.replace(together.replace("-", " "), together)
    return text[:1].upper() + text[1:] if len(last) > 2 else text


def _capital(text: str) -> str:
    """Return the text with a capital letter where its first word is one of a language rather than a symbol."""
    first = text.partition(" ")[0]
    return text[:1].upper() + text[1:] if len(first) >= SHORTEST and first.isalpha() else text
