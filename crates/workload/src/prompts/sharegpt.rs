//! Conversations of a ShareGPT file: the first human turn is the prompt, the reply gives the length of
//! the answer.
//!
//! Records that start with the model's turn, or have no reply, are of no use and are skipped with a
//! count; so are those of another shape. Only what is no JSON at all is an error.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Content;
use super::record::{Answer, Record, Unreadable};

#[derive(Deserialize)]
struct Conversation {
    conversations: Vec<Turn>,
}

#[derive(Deserialize)]
struct Turn {
    from: String,
    value: String,
}

impl Turn {
    fn is_human(&self) -> bool {
        matches!(self.from.as_str(), "human" | "user")
    }

    fn is_reply(&self) -> bool {
        !self.is_human() && self.from != "system"
    }

    fn is_blank(&self) -> bool {
        self.value.trim().is_empty()
    }
}

/// One conversation; `None` where it is of no use.
pub(super) fn conversation(json: &str) -> Result<Option<Record>, Unreadable> {
    match serde_json::from_str::<Conversation>(json) {
        Ok(conversation) => Ok(first_exchange(conversation.conversations)),
        Err(error) => match serde_json::from_str::<IgnoredAny>(json) {
            Ok(IgnoredAny) => Ok(None),
            Err(_) => Err(Unreadable::from_json(&error)),
        },
    }
}

/// Every human turn with the reply to it, from the first one on, up to where the two cease to alternate; none where it is
/// of no use.
pub(super) fn exchanges(json: &str) -> Vec<(String, String)> {
    let Ok(conversation) = serde_json::from_str::<Conversation>(json) else { return Vec::new() };
    let mut spoken = conversation.conversations.into_iter().filter(|turn| turn.from != "system");
    let mut found = Vec::new();
    while let Some(prompt) = spoken.next().filter(|turn| turn.is_human() && !turn.is_blank()) {
        let Some(reply) = spoken.next().filter(|turn| turn.is_reply() && !turn.is_blank()) else {
            break;
        };
        found.push((prompt.value, reply.value));
    }
    found
}

fn first_exchange(turns: Vec<Turn>) -> Option<Record> {
    let mut spoken = turns.into_iter().filter(|turn| turn.from != "system");
    let prompt = spoken.next().filter(|turn| turn.is_human() && !turn.is_blank())?;
    let reply = spoken.next().filter(|turn| turn.is_reply() && !turn.is_blank())?;
    Some(Record { content: Content::Text(prompt.value), answer: Answer::Text(reply.value) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(turns: &str) -> Option<(String, String)> {
        let record =
            conversation(&format!("{{\"id\": \"x\", \"conversations\": [{turns}]}}")).unwrap()?;
        match record {
            Record { content: Content::Text(prompt), answer: Answer::Text(reply) } => {
                Some((prompt, reply))
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_first_human_turn_and_its_reply() {
        let pair = Some(("q".to_owned(), "a".to_owned()));
        let human = "{\"from\": \"human\", \"value\": \"q\"}";
        let model = "{\"from\": \"gpt\", \"value\": \"a\", \"extra\": 1}";
        assert_eq!(exchange(&format!("{human}, {model}, {human}")), pair);
        assert_eq!(
            exchange(&format!("{{\"from\": \"system\", \"value\": \"s\"}}, {human}, {model}")),
            pair
        );
        assert_eq!(
            exchange(
                "{\"from\": \"user\", \"value\": \"q\"}, {\"from\": \"assistant\", \"value\": \"a\"}"
            ),
            pair
        );
        assert_eq!(exchange(&format!("{model}, {human}, {model}")), None);
        assert_eq!(exchange(human), None);
        assert_eq!(exchange(&format!("{human}, {human}")), None);
        assert_eq!(
            exchange(
                "{\"from\": \"human\", \"value\": \" \"}, {\"from\": \"gpt\", \"value\": \"a\"}"
            ),
            None
        );
        assert_eq!(exchange(""), None);
    }

    #[test]
    fn a_conversation_is_as_long_as_its_turns_alternate() {
        let turn =
            |from: &str, value: &str| format!("{{\"from\": \"{from}\", \"value\": \"{value}\"}}");
        let json = |turns: &[String]| format!("{{\"conversations\": [{}]}}", turns.join(","));
        let [a, b, c, d] = ["a", "b", "c", "d"];
        let whole = [
            turn("system", "s"),
            turn("human", a),
            turn("gpt", b),
            turn("human", c),
            turn("gpt", d),
        ];
        let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
            list.iter().map(|(one, other)| ((*one).to_owned(), (*other).to_owned())).collect()
        };
        assert_eq!(exchanges(&json(&whole)), pairs(&[(a, b), (c, d)]));
        assert_eq!(exchanges(&json(&whole[..4])), pairs(&[(a, b)]), "a question without a reply");
        assert_eq!(exchanges(&json(&[turn("human", a), turn("human", b)])), pairs(&[]));
        assert_eq!(exchanges("{}"), pairs(&[]));
    }

    #[test]
    fn records_of_another_shape_are_of_no_use_and_broken_ones_an_error() {
        for json in [
            "{}",
            "[]",
            "3",
            "{\"conversations\": null}",
            "{\"conversations\": [{\"from\": 1, \"value\": \"x\"}]}",
        ] {
            assert_eq!(conversation(json).unwrap(), None, "{json}");
        }
        // Half a surrogate pair is JSON by its grammar, and no text.
        let half = "{\"conversations\": [{\"from\": \"human\", \"value\": \"\\ud83d\"}]}";
        assert_eq!(conversation(half).unwrap(), None);
        assert_eq!(
            conversation("{\"conversations\": [}").unwrap_err().reason,
            "not JSON: expected value (column 20)"
        );
    }
}
