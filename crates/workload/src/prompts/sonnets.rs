//! Readable text: lines of Shakespeare's sonnets, exact in tokens.
//!
//! A line is drawn after the other until the next one does not fit, and plain words fill the rest. What a line costs is
//! counted once, when the text is opened, so that no request is tokenized while the run measures; that costs add up is not
//! taken on faith, but tried on texts of many lines. Lines are drawn one by one and not sonnet by sonnet: two prompts that
//! begin with the same line share it, and no whole block of a prefix cache.

use std::collections::{BTreeMap, BTreeSet};

use crate::random::{Purpose, Random};
use crate::tokenizer::{Tokenizer, TokenizerError, Words};

/// All 154, a line of verse a line, a blank line between two (see `assets/README.md`).
const TEXT: &str = include_str!("../../assets/sonnets.txt");
/// Tokens of each text on which costs are tried, and how many texts.
const TRIED: u32 = 4_000;
const TRIALS: u64 = 3;
/// How many tokens in a thousand may be counted otherwise: a mark at the start of a text, and no more.
const OFF_PER_MILLE: u32 = 1;

/// The lines with what they cost.
#[derive(Debug)]
pub(super) struct Sonnets {
    lines: Vec<Line>,
    /// Of the break after a line, by the marks that the line ends with: most tokenizers put it into one token with a comma.
    breaks: BTreeMap<&'static str, u32>,
    fill: Words,
}

#[derive(Debug)]
struct Line {
    text: &'static str,
    /// At the start of a text.
    first: u32,
    /// After a break.
    after: u32,
}

/// The lines of verse.
fn verses() -> impl Iterator<Item = &'static str> {
    TEXT.lines().filter(|line| !line.is_empty())
}

/// What stands behind the last letter.
fn marks_of(text: &str) -> &str {
    &text[text.trim_end_matches(|mark: char| !mark.is_ascii_alphanumeric()).len()..]
}

impl Sonnets {
    /// Counts what each line costs.
    ///
    /// # Errors
    /// The tokenizer has no plain words, or does not count a text line by line.
    pub(super) fn new(tokenizer: &Tokenizer) -> Result<Self, TokenizerError> {
        let count = |text: &str| tokenizer.count(text);
        let mut breaks = BTreeMap::new();
        for marks in verses().map(marks_of).collect::<BTreeSet<_>>() {
            let ended = format!("I{marks}");
            let parts = count(&ended)? + count("I")?;
            _ = breaks.insert(marks, count(&format!("{ended}\nI"))?.saturating_sub(parts));
        }
        let line = |text: &'static str| {
            let after =
                count(&format!("I,\n{text}"))?.saturating_sub(count("I,\nI")? - count("I")?);
            Ok(Line { text, first: count(text)?, after })
        };
        let lines = verses().map(line).collect::<Result<_, TokenizerError>>()?;
        let sonnets = Self { lines, breaks, fill: tokenizer.words()?.among(&vocabulary()) };
        sonnets.check(tokenizer)?;
        Ok(sonnets)
    }

    /// Appends so many tokens to `text`.
    pub(super) fn append(&self, text: &mut String, random: &mut Random, count: u32) {
        let lines = u32::try_from(self.lines.len()).expect("some thousand lines");
        let mut left = count;
        while left > 0 {
            let line = &self.lines[random.below(lines) as usize];
            let cost = match text.is_empty() {
                true => line.first,
                false => self.breaks.get(marks_of(text)).copied().unwrap_or(1) + line.after,
            };
            if cost > left {
                return self.fill.append(text, random, left);
            }
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(line.text);
            left -= cost;
        }
    }

    fn check(&self, tokenizer: &Tokenizer) -> Result<(), TokenizerError> {
        for trial in 0..TRIALS {
            let mut text = String::new();
            self.append(&mut text, &mut Random::new(0, Purpose::Text, trial), TRIED);
            let counted = tokenizer.count(&text)?;
            if counted.abs_diff(TRIED) > TRIED * OFF_PER_MILLE / 1_000 {
                let name = tokenizer.name().to_owned();
                return Err(TokenizerError::Lines { name, made: TRIED, counted });
            }
        }
        Ok(())
    }
}

/// The words of the sonnets, in lower case.
fn vocabulary() -> BTreeSet<String> {
    let words = TEXT.split(|letter: char| !letter.is_ascii_alphabetic());
    words.map(str::to_ascii_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(sonnets: &Sonnets, stream: u64, tokens: u32) -> String {
        let mut text = String::new();
        sonnets.append(&mut text, &mut Random::new(7, Purpose::Text, stream), tokens);
        text
    }

    #[test]
    fn there_are_154_sonnets_of_fourteen_lines_but_two() {
        let lengths: Vec<usize> =
            TEXT.trim_end().split("\n\n").map(|sonnet| sonnet.lines().count()).collect();
        assert_eq!(lengths.len(), 154);
        // The 99th has fifteen lines and the 126th twelve.
        let others: Vec<_> = (1..).zip(&lengths).filter(|(_, lines)| **lines != 14).collect();
        assert_eq!(others, [(99, &15), (126, &12)]);
        assert!(
            TEXT.is_ascii() && TEXT.starts_with("From fairest creatures we desire increase,\n")
        );
    }

    #[test]
    fn texts_of_the_bundled_tokenizer_are_exact_whatever_their_length() {
        let tokenizer = Tokenizer::bundled().unwrap();
        let sonnets = Sonnets::new(&tokenizer).unwrap();
        for (stream, tokens) in (0..).zip([1, 2, 3, 9, 10, 11, 50, 137, 550, 3_000]) {
            let text = text(&sonnets, stream, tokens);
            assert_eq!(tokenizer.count(&text).unwrap(), tokens, "{text}");
        }
    }

    #[test]
    fn what_is_appended_in_parts_is_exact_too() {
        let tokenizer = Tokenizer::bundled().unwrap();
        let sonnets = Sonnets::new(&tokenizer).unwrap();
        let mut whole = String::new();
        for (stream, tokens) in (0..).zip([100, 7, 1, 300]) {
            sonnets.append(&mut whole, &mut Random::new(7, Purpose::Text, stream), tokens);
        }
        assert_eq!(tokenizer.count(&whole).unwrap(), 408);
    }

    #[test]
    fn a_text_is_lines_of_verse_and_each_stream_has_others() {
        let tokenizer = Tokenizer::bundled().unwrap();
        let sonnets = Sonnets::new(&tokenizer).unwrap();
        let (one, other) = (text(&sonnets, 1, 300), text(&sonnets, 2, 300));
        assert_ne!(one, other);
        let known: BTreeSet<&str> = verses().collect();
        let whole = one.lines().filter(|line| known.contains(line)).count();
        assert!(whole + 1 >= one.lines().count() && whole > 10, "{one}");
    }
}
