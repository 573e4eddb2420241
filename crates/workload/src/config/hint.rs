//! The nearest known word to a misspelt one.

use super::keys::KEYS;

/// Below this similarity (of 1) a word suggested for a word would puzzle more than help.
const SIMILAR: f64 = 0.65;

/// The same for whole paths, which may be alike for their section alone.
const SIMILAR_PATH: f64 = 0.8;

/// The known key, or section, nearest to `written`; also finds a key written without its section.
pub(crate) fn nearest_key(written: &str) -> Option<String> {
    let wanted = plain(written);
    let (wanted_parent, wanted_last) = wanted.rsplit_once('.').unwrap_or(("", &wanted));
    let whole = names()
        .map(|name| (similarity(&wanted, &plain(&name)), name))
        .filter(|(score, _)| *score >= SIMILAR_PATH);
    let last = names().map(|name| {
        let known = plain(&name);
        let (parent, last) = known.rsplit_once('.').unwrap_or(("", &known));
        // A little less elsewhere, so that a neighbour wins over an equal word of another section.
        let weight = if parent == wanted_parent { 1.0 } else { 0.95 };
        (weight * similarity(wanted_last, last), name)
    });
    best(whole.chain(last))
}

/// The nearest of some allowed words.
pub(crate) fn nearest_word(written: &str, words: &[&str]) -> Option<String> {
    nearest_of(written, words.iter().copied())
}

/// The same of any names.
pub(crate) fn nearest_of<'a>(
    written: &str,
    names: impl Iterator<Item = &'a str>,
) -> Option<String> {
    best(names.map(|name| (similarity(&plain(written), &plain(name)), name.to_owned())))
}

/// Every key and every section.
fn names() -> impl Iterator<Item = String> {
    let sections = KEYS
        .iter()
        .flat_map(|key| key.path.match_indices('.').map(|(end, _)| key.path[..end].to_owned()));
    sections.chain(KEYS.iter().map(|key| key.path.to_owned()))
}

/// `inputLength`, `input_length` and `InputLength` are the same word.
fn plain(word: &str) -> String {
    word.chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '.')
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

fn similarity(one: &str, other: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(one, other)
}

/// The first among the most similar.
fn best(candidates: impl Iterator<Item = (f64, String)>) -> Option<String> {
    let mut nearest: Option<(f64, String)> = None;
    for candidate in candidates.filter(|(similarity, _)| *similarity >= SIMILAR) {
        if nearest.as_ref().is_none_or(|(similarity, _)| candidate.0 > *similarity) {
            nearest = Some(candidate);
        }
    }
    nearest.map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_keys_find_their_neighbours() {
        for (written, meant) in [
            ("load.rat", "load.rate"),
            ("rate", "load.rate"),
            ("concurency", "load.concurrency"), // misspelt
            ("benchmark.durration", "benchmark.duration"),
            ("prompts.input_length", "prompts.inputLength"),
            ("prompt", "prompts"),
            ("load.prefix_ratio", "load.prefixRatio"),
            ("prompt.file", "prompts.file"),
            ("target.apis", "target.api"),
            ("target.url", ""),
            ("zebra", ""),
        ] {
            assert_eq!(nearest_key(written).unwrap_or_default(), meant, "{written}");
        }
        assert_eq!(nearest_word("sharegpt", &["file", "shareGPT"]).as_deref(), Some("shareGPT"));
    }
}
