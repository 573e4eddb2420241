//! Words whose concatenation re-encodes token for token.
//!
//! Decoding random token ids does not give a text of so many tokens: neighbours merge when the text is
//! encoded again. Lower-case words that are one token at the start of a text and one token after a
//! space do, because tokenizers split at spaces; that is not taken on faith, but checked on the whole
//! table in several orders when it is made.

use std::collections::BTreeSet;

use super::{Tokenizer, TokenizerError};
use crate::random::{Purpose, Random};

/// Most words in the table: 12 bits of choice a word, so that texts part at their first words.
pub(super) const MOST: usize = 4096;

/// Fewest words with which texts still differ.
const FEWEST: usize = 64;

/// Words with these in them are left out: a server's filter could refuse the prompt, or count it.
const UNSEEMLY: [&str; 12] = [
    "anal", "fuck", "kill", "murder", "nazi", "nigg", "porn", "rape", "sex", "shit", "suicid",
    "terror",
];

/// Orders in which the whole table is encoded as a check.
const CHECKS: u64 = 3;

/// The table; a text is some of its words with single spaces between them.
#[derive(Clone, Debug)]
pub struct Words {
    words: Vec<String>,
}

impl Words {
    /// Makes the table of a tokenizer: its first (most frequent) fitting tokens.
    pub(super) fn find(tokenizer: &Tokenizer) -> Result<Self, TokenizerError> {
        let mut seen = std::collections::HashSet::new();
        let mut words: Vec<String> = Vec::new();
        for token in tokenizer.tokens_by_id(|token| plain_word(token).is_some()) {
            if words.len() == MOST {
                break;
            }
            let Some(word) = plain_word(&token).filter(|word| seen.insert((*word).to_owned()))
            else {
                continue;
            };
            let twice = format!("{word} {word}");
            if tokenizer.count(word) == Ok(1) && tokenizer.count(&twice) == Ok(2) {
                words.push(word.to_owned());
            }
        }
        let table = Self { words: without_mergers(tokenizer, words) };
        table.check(tokenizer)?;
        Ok(table)
    }

    /// The words of the table that are among these; the whole table where hardly any is.
    pub(crate) fn among(&self, wanted: &BTreeSet<String>) -> Self {
        let words: Vec<String> =
            self.words.iter().filter(|word| wanted.contains(*word)).cloned().collect();
        if words.len() < FEWEST { self.clone() } else { Self { words } }
    }

    /// How many words there are; at least 64.
    #[expect(clippy::len_without_is_empty, reason = "a table is never empty")]
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Appends `count` random words to `text`, one token each.
    pub(crate) fn append(&self, text: &mut String, random: &mut Random, count: u32) {
        let bound = u32::try_from(self.words.len()).expect("the table has at most 4096 words");
        for _ in 0..count {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(&self.words[random.below(bound) as usize]);
        }
    }

    /// Encodes random texts as long as the table.
    fn check(&self, tokenizer: &Tokenizer) -> Result<(), TokenizerError> {
        let too_few = |found| TokenizerError::FewWords {
            name: tokenizer.name().to_owned(),
            found,
            needed: FEWEST,
        };
        if self.words.len() < FEWEST {
            return Err(too_few(self.words.len()));
        }
        let length = u32::try_from(self.words.len()).unwrap_or(u32::MAX);
        for order in 0..CHECKS {
            let mut text = String::new();
            self.append(&mut text, &mut Random::new(0, Purpose::Text, order), length);
            if tokenizer.count(&text)? != length {
                return Err(too_few(0));
            }
        }
        Ok(())
    }
}

/// The word in a token, without the mark that byte-level ("Ġ") and sentence-piece ("▁") vocabularies
/// put for a space before it; lower-case ASCII letters alone, which no tokenizer splits or normalises.
fn plain_word(token: &str) -> Option<&str> {
    let word = token.strip_prefix(['Ġ', '▁']).unwrap_or(token);
    let plain =
        (3..=12).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_lowercase());
    let unseemly = || UNSEEMLY.iter().any(|part| word.contains(part));
    (plain && !unseemly()).then_some(word)
}

/// Leaves out words that merge with a neighbour, found by bisection.
fn without_mergers(tokenizer: &Tokenizer, words: Vec<String>) -> Vec<String> {
    let counted = tokenizer.count(&words.join(" "));
    if words.is_empty() || counted.is_ok_and(|count| count as usize == words.len()) {
        return words;
    }
    if words.len() == 1 {
        return Vec::new();
    }
    let mut first = words;
    let second = first.split_off(first.len() / 2);
    let mut kept = without_mergers(tokenizer, first);
    kept.extend(without_mergers(tokenizer, second));
    kept
}

#[cfg(test)]
mod tests {
    use super::super::toy::toy;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_words_are_lower_case_letters_behind_a_mark_for_space() {
        let tokens = [
            "Ġhello",
            "▁hello",
            "hello",
            "Hello",
            "##ing",
            "he",
            "ĠĠabc",
            "naïve",
            "abc1",
            "abcdefghijklm",
        ];
        let words: Vec<Option<&str>> = tokens.into_iter().map(plain_word).collect();
        assert_eq!(words[..3], [Some("hello"); 3]);
        assert!(words[3..].iter().all(Option::is_none), "{words:?}");
    }

    #[test]
    fn a_tokenizer_of_letters_has_no_table() {
        let json = br#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,"pre_tokenizer":null,
            "post_processor":null,"decoder":null,"model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,
            "end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,"vocab":{"a":0,"b":1," ":2},"merges":[]}}"#;
        let letters = Tokenizer::parse("letters", json).unwrap();
        assert_eq!(letters.count("ab ba").unwrap(), 5);
        let line = letters.words().unwrap_err().to_string();
        assert!(line.starts_with("tokenizer `letters` has 0 plain words"), "{line}");
    }

    proptest! {
        #[test]
        fn any_words_of_the_table_encode_to_one_token_each(stream in any::<u64>(), count in 1u32..300) {
            let mut text = String::new();
            toy().words().unwrap().append(&mut text, &mut Random::new(1, Purpose::Text, stream), count);
            prop_assert_eq!(toy().count(&text).unwrap(), count);
        }
    }
}
