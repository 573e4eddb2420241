//! A small tokenizer for tests: byte-level BPE in the manner of GPT-2, over made-up words.

use std::sync::{Arc, OnceLock};

use super::Tokenizer;

/// Letters from which the words are made, by syllables.
const SYLLABLES: [&str; 12] =
    ["ka", "lo", "mi", "nu", "pe", "ra", "si", "to", "va", "xe", "yo", "zu"];

/// The tokenizer, which has 144 two-syllable words and the word `alpha`, and asks for truncation.
pub(crate) fn toy() -> Arc<Tokenizer> {
    static TOY: OnceLock<Arc<Tokenizer>> = OnceLock::new();
    Arc::clone(TOY.get_or_init(|| Arc::new(Tokenizer::parse("toy", json().as_bytes()).unwrap())))
}

/// Its `tokenizer.json`.
pub(crate) fn json() -> String {
    let mut vocabulary: Vec<String> =
        (b'!'..=b'~').map(|byte| char::from(byte).to_string()).collect();
    vocabulary.extend(["Ġ", "Ċ"].map(str::to_owned));
    let mut merges = Vec::new();
    let mut merge = |vocabulary: &mut Vec<String>, left: &str, right: &str| {
        vocabulary.push(format!("{left}{right}"));
        merges.push(format!("{left} {right}"));
    };
    for syllable in SYLLABLES {
        merge(&mut vocabulary, &syllable[..1], &syllable[1..]);
    }
    for first in SYLLABLES {
        for second in SYLLABLES {
            merge(&mut vocabulary, first, second);
        }
    }
    for (left, right) in [("a", "l"), ("al", "p"), ("alp", "h"), ("alph", "a")] {
        merge(&mut vocabulary, left, right);
    }
    let words: Vec<String> =
        vocabulary.iter().filter(|token| token.len() > 3 && token.is_ascii()).cloned().collect();
    for word in words.iter().filter(|word| !["alp", "alph"].contains(&word.as_str())) {
        merge(&mut vocabulary, "Ġ", word);
    }
    let ids: serde_json::Map<String, serde_json::Value> =
        vocabulary.into_iter().enumerate().map(|(id, token)| (token, id.into())).collect();
    serde_json::json!({
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 16, "strategy": "LongestFirst", "stride": 0},
        "padding": null,
        "added_tokens": [],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": ids, "merges": merges}
    })
    .to_string()
}
