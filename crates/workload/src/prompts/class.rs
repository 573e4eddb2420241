//! The prompts of one traffic class: made of words, or read from its data set, with what is to stand before them.
//!
//! A class has one kind of text and one tokenizer; whatever depends on several classes, or on which of them a request is
//! of, is the whole source's.

use std::sync::Arc;

use metrics::Warning;

use super::dataset::{self, Counts, Dataset};
use super::record::{Answer, Record};
use super::synthetic::{Made, Synthetic, common_prefix};
use super::{Content, InputFile, LengthCheck, Prompt, PromptError, lengths};
use crate::plan::{OutputLengths, Plan, PromptKind, PromptPlan, SaltPlacement, TokenizerChoice};
use crate::random::{Purpose, Random};
use crate::schedule::Rows;
use crate::tokenizer::{Tokenizer, TokenizerError};

/// One request in so many has its tokens counted again.
const CHECKED_ONE_IN: u64 = 1000;

/// Makes the prompts of one traffic class.
#[derive(Debug)]
pub(super) struct ClassPrompts {
    pub(super) text: TextSource,
    as_token_ids: bool,
    pub(super) tokenizer: Arc<Tokenizer>,
    tokenizer_file: Option<InputFile>,
    output_length: OutputLengths,
    prefix_ratio: f64,
    salt_placement: SaltPlacement,
    pub(super) seed: u64,
    salt: u64,
    /// Of a plan that goes by a file, whose rows have lengths.
    rows: Option<Arc<Rows>>,
}

#[derive(Debug)]
pub(super) enum TextSource {
    Synthetic(Synthetic),
    Dataset(Dataset),
}

/// A tokenizer, and the file that it was read from.
pub(super) type Loaded = (Arc<Tokenizer>, Option<InputFile>);

impl ClassPrompts {
    pub(super) fn open(
        plan: &Plan,
        prompts: &PromptPlan,
        (tokenizer, tokenizer_file): Loaded,
    ) -> Result<(Self, Vec<Warning>), Vec<PromptError>> {
        let (text, mut warnings) = if prompts.kind == PromptKind::Synthetic {
            let synthetic =
                Synthetic::new(plan, prompts, &tokenizer).map_err(|error| vec![error.into()])?;
            (TextSource::Synthetic(synthetic), Vec::new())
        } else {
            if prompts.prefix_ratio > 0.0 {
                _ = tokenizer.words().map_err(|error| vec![error.into()])?;
            }
            let (dataset, warnings) = Dataset::open(plan, prompts, &tokenizer)?;
            (TextSource::Dataset(dataset), warnings)
        };
        let source = Self {
            text,
            as_token_ids: prompts.as_token_ids,
            tokenizer,
            tokenizer_file,
            output_length: prompts.output_length.clone(),
            prefix_ratio: prompts.prefix_ratio,
            salt_placement: prompts.salt,
            seed: plan.seed,
            salt: plan.prompt_salt,
            rows: plan.rows().cloned(),
        };
        warnings.extend(source.repeats(plan));
        Ok((source, warnings))
    }

    pub(super) fn prompt(&self, number: u64) -> Result<Prompt, PromptError> {
        match &self.text {
            TextSource::Synthetic(synthetic) => {
                let Made { text, asked, .. } = synthetic.text(number)?;
                let output_tokens = self.ordered(number, None);
                let content = match self.as_token_ids {
                    true => Content::TokenIds(self.tokenizer.encode(&text)?),
                    false => Content::Text(text),
                };
                Ok(Prompt { number, class: 0, content, input_tokens: Some(asked), output_tokens })
            }
            TextSource::Dataset(dataset) => self.recorded(dataset, number),
        }
    }

    pub(super) fn check(&self, number: u64) -> Result<Option<LengthCheck>, PromptError> {
        match &self.text {
            TextSource::Synthetic(synthetic) if number.is_multiple_of(CHECKED_ONE_IN) => {
                let Made { text, made: asked, .. } = synthetic.text(number)?;
                Ok(Some(LengthCheck { asked, counted: self.tokenizer.count(&text)? }))
            }
            TextSource::Synthetic(_) | TextSource::Dataset(_) => Ok(None),
        }
    }

    pub(super) fn wraps_at(&self) -> Option<u64> {
        match &self.text {
            TextSource::Synthetic(_) => None,
            TextSource::Dataset(dataset) => Some(dataset.len()),
        }
    }

    pub(super) fn inputs(&self) -> Vec<InputFile> {
        let dataset = match &self.text {
            TextSource::Synthetic(_) => None,
            TextSource::Dataset(dataset) => Some(dataset.input_file()),
        };
        dataset.into_iter().chain(self.tokenizer_file.clone()).collect()
    }

    fn recorded(&self, dataset: &Dataset, number: u64) -> Result<Prompt, PromptError> {
        let place = dataset.place(number);
        let record = dataset.record(place)?;
        let (content, input_tokens, recorded) = match record {
            Record { content: Content::Text(text), answer } => {
                let counts = dataset.counts(place, || self.count(&text, &answer))?;
                let (text, input) = self.altered(number, text, counts.input)?;
                (Content::Text(text), Some(input), Some(counts.reply).filter(|reply| *reply > 0))
            }
            Record { content, answer: Answer::Tokens(tokens) } => (content, None, Some(tokens)),
            Record { content, answer: Answer::Unknown | Answer::Text(_) } => (content, None, None),
        };
        let output_tokens = match content {
            Content::Body(_) => recorded,
            Content::Text(_) | Content::TokenIds(_) | Content::Messages(_) => {
                self.ordered(number, recorded)
            }
        };
        Ok(Prompt { number, class: 0, content, input_tokens, output_tokens })
    }

    pub(super) fn count(&self, text: &str, answer: &Answer) -> Result<Counts, TokenizerError> {
        let input = self.tokenizer.count(text)?;
        let reply = match (&self.output_length, answer) {
            (OutputLengths::Recorded { .. }, Answer::Text(reply)) => self.tokenizer.count(reply)?,
            (OutputLengths::Drawn(_), Answer::Text(_)) | (_, Answer::Unknown) => 0,
            (_, Answer::Tokens(tokens)) => *tokens,
        };
        Ok(Counts { input, reply })
    }

    /// The text of a data set with what is to stand before it, and its length in tokens. P tokens of
    /// prefix before L tokens are a share p of the whole where P = p·L / (1 − p).
    fn altered(
        &self,
        number: u64,
        text: String,
        tokens: u32,
    ) -> Result<(String, u32), TokenizerError> {
        let common =
            (self.prefix_ratio * f64::from(tokens) / (1.0 - self.prefix_ratio)).round() as u32;
        let salted = self.salt_placement == SaltPlacement::Prepend;
        if common == 0 && !salted {
            return Ok((text, tokens));
        }
        let mut whole = String::new();
        if common > 0 {
            whole = common_prefix(self.tokenizer.words()?, self.salt, common);
            whole.push_str("\n\n");
        }
        if salted {
            let bits = Random::new(self.salt, Purpose::Text, number).bits();
            whole.push_str(&format!("{bits:016x} "));
        }
        whole.push_str(&text);
        let counted = self.tokenizer.count(&whole)?;
        Ok((whole, counted))
    }

    /// Output tokens to order for request `number`.
    pub(super) fn ordered(&self, number: u64, recorded: Option<u32>) -> Option<u32> {
        if let Some(tokens) = self.rows.as_ref().and_then(|rows| rows.output_tokens(number)) {
            return Some(tokens);
        }
        match &self.output_length {
            OutputLengths::Drawn(length) => {
                Some(lengths::draw(length, self.seed, Purpose::OutputLengths, number))
            }
            OutputLengths::Recorded { max: None } => recorded,
            OutputLengths::Recorded { max: Some(max) } => {
                Some(recorded.map_or(max.get(), |tokens| tokens.min(max.get())))
            }
        }
    }

    /// Said beforehand where the number of requests is known; else the workers count it.
    fn repeats(&self, plan: &Plan) -> Option<Warning> {
        let records = self.wraps_at()?;
        let requests =
            plan.expected_arrivals().or(plan.requests).filter(|requests| *requests > records)?;
        let advice = "repeated prompts may be answered from the server's prefix cache: use a larger data set or `prompts.salt: prepend`";
        Some(Warning::new(
            "prompts_repeat",
            format!("{requests} requests use {}: {advice}", prompts_of(records)),
        ))
    }
}

fn prompts_of(records: u64) -> String {
    if records == 1 {
        return "1 prompt, which repeats".to_owned();
    }
    format!("{records} prompts, which repeat")
}

pub(super) fn tokenizer(choice: &TokenizerChoice) -> Result<Loaded, TokenizerError> {
    let TokenizerChoice::File(path) = choice else { return Ok((Tokenizer::bundled()?, None)) };
    let name = path.display().to_string();
    let json = std::fs::read(path).map_err(|error| TokenizerError::Unreadable {
        name: name.clone(),
        reason: error.to_string(),
    })?;
    let file =
        InputFile { path: path.clone(), bytes: json.len() as u64, sha256: dataset::sha256(&json) };
    Ok((Arc::new(Tokenizer::parse(&name, &json)?), Some(file)))
}
