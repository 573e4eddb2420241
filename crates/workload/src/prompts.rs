//! What each request asks: a pure function of (plan, number), made ahead of its due time.
//!
//! Synthetic prompts are made of words, exact in tokens; records of a data set are read by an index of
//! byte offsets, so that a file of any size takes little memory. Either way the prompt of a number is
//! the same on every worker.

mod dataset;
mod error;
mod file;
mod lengths;
mod material;
mod prefixes;
mod record;
mod scan;
mod session;
mod sharegpt;
mod sonnets;
mod synthetic;

use std::path::PathBuf;
use std::sync::Arc;

use metrics::Warning;

use crate::plan::{OutputLengths, Plan, PromptPlan, SaltPlacement, TokenizerChoice};
use crate::random::{Purpose, Random};
use crate::schedule::Rows;
use crate::tokenizer::{Tokenizer, TokenizerError};
use dataset::{Counts, Dataset};
use record::{Answer, Record};
use synthetic::{Made, Synthetic, common_prefix};

pub use error::PromptError;

/// One request in so many has its tokens counted again.
const CHECKED_ONE_IN: u64 = 1000;

/// What one request asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// The request's number.
    pub number: u64,
    /// Its cell: traffic class and target ([`Plan::cell`]).
    pub class: u16,
    /// What is asked.
    pub content: Content,
    /// Input tokens asked, content only; `None` where they are not counted (messages, bodies).
    pub input_tokens: Option<u32>,
    /// Output tokens ordered (`max_tokens`); `None`: not set.
    pub output_tokens: Option<u32>,
}

/// The shapes a prompt has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Plain text: one user message, or the prompt of a completion.
    Text(String),
    /// Token ids: the prompt of a completion.
    TokenIds(Vec<u32>),
    /// A JSON array of chat messages.
    Messages(String),
    /// A JSON object: an OpenAI request body, sent unaltered but for model and stream settings.
    Body(String),
}

/// A file that prompts are read from, to be compared between workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFile {
    /// Where it was read.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
}

/// The result of counting a prompt's tokens again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LengthCheck {
    /// Tokens that the prompt was made to have.
    pub asked: u32,
    /// Tokens that the tokenizer counts.
    pub counted: u32,
}

/// Makes the prompts of a run; shared by the threads that build requests.
#[derive(Debug)]
pub struct PromptSource {
    plan: Plan,
    /// One for each traffic class.
    classes: Vec<ClassPrompts>,
}

/// Makes the prompts of one traffic class.
#[derive(Debug)]
struct ClassPrompts {
    text: TextSource,
    as_token_ids: bool,
    tokenizer: Arc<Tokenizer>,
    tokenizer_file: Option<InputFile>,
    output_length: OutputLengths,
    prefix_ratio: f64,
    salt_placement: SaltPlacement,
    seed: u64,
    salt: u64,
    /// Of a plan that goes by a file, whose rows have lengths.
    rows: Option<Arc<Rows>>,
}

#[derive(Debug)]
enum TextSource {
    Synthetic(Synthetic),
    Dataset(Dataset),
}

impl PromptSource {
    /// Reads what the plan's prompts need: tokenizers, and the whole of each data set once.
    ///
    /// # Errors
    /// Every problem found, in one line each.
    pub fn open(plan: &Plan) -> Result<(Self, Vec<Warning>), Vec<PromptError>> {
        Self::with_tokenizers(plan, tokenizer)
    }

    fn with_tokenizers(
        plan: &Plan,
        load: impl Fn(&TokenizerChoice) -> Result<Loaded, TokenizerError>,
    ) -> Result<(Self, Vec<Warning>), Vec<PromptError>> {
        let mut loaded: Vec<(&TokenizerChoice, Loaded)> = Vec::new();
        let (mut classes, mut warnings, mut problems) = (Vec::new(), Vec::new(), Vec::new());
        for prompts in plan.prompts_by_class() {
            let known = loaded.iter().find(|(choice, _)| **choice == prompts.tokenizer);
            let tokenizer = match known {
                Some((_, tokenizer)) => tokenizer.clone(),
                None => {
                    let tokenizer = load(&prompts.tokenizer).map_err(|error| vec![error.into()])?;
                    loaded.push((&prompts.tokenizer, tokenizer.clone()));
                    tokenizer
                }
            };
            match ClassPrompts::open(plan, prompts, tokenizer) {
                Ok((class, own)) => {
                    let new = own.into_iter().filter(|warning| !warnings.contains(warning));
                    let new: Vec<_> = new.collect();
                    warnings.extend(new);
                    classes.push(class);
                }
                Err(own) => {
                    let new = own.into_iter().filter(|problem| !problems.contains(problem));
                    let new: Vec<_> = new.collect();
                    problems.extend(new);
                }
            }
        }
        if problems.is_empty() {
            Ok((Self { plan: plan.clone(), classes }, warnings))
        } else {
            Err(problems)
        }
    }

    /// The prompt of request `number`.
    ///
    /// # Errors
    /// The data set has changed or cannot be read any more, or has a text that cannot be encoded.
    pub fn prompt(&self, number: u64) -> Result<Prompt, PromptError> {
        let cell = self.plan.cell_of(number);
        let prompt = self.class(cell).prompt(number)?;
        Ok(Prompt { class: cell, ..prompt })
    }

    /// Counts the tokens of a synthetic prompt again, for 1 request in 1,000; `None` for the others. A
    /// count that differs from what was asked is a mistake in the tokenizer's table of words.
    ///
    /// # Errors
    /// As [`PromptSource::prompt`].
    pub fn check(&self, number: u64) -> Result<Option<LengthCheck>, PromptError> {
        self.class(self.plan.cell_of(number)).check(number)
    }

    /// After how many requests a data set starts again, the smallest of all classes; `None` for synthetic
    /// prompts.
    pub fn wraps_at(&self) -> Option<u64> {
        self.classes.iter().filter_map(ClassPrompts::wraps_at).min()
    }

    /// Has the data set of request `number` been used up before it?
    pub fn has_wrapped(&self, number: u64) -> bool {
        let class = self.class(self.plan.cell_of(number));
        class.wraps_at().is_some_and(|records| number >= records)
    }

    /// The files read: data sets and tokenizers, where they are files.
    pub fn inputs(&self) -> Vec<InputFile> {
        let mut files: Vec<InputFile> = Vec::new();
        for file in self.classes.iter().flat_map(ClassPrompts::inputs) {
            if !files.contains(&file) {
                files.push(file);
            }
        }
        files
    }

    /// The name of the tokenizer that counts; of several, all of them.
    pub fn tokenizer_name(&self) -> String {
        let mut names: Vec<String> = Vec::new();
        for (class, prompts) in self.classes.iter().zip(self.plan.prompts_by_class()) {
            let name = class.tokenizer.name();
            let name = match prompts.token_scale {
                1.0 => name.to_owned(),
                scale => format!("{name}, of which one is {scale} of the server's"),
            };
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.join(", ")
    }

    fn class(&self, cell: u16) -> &ClassPrompts {
        let class = self.plan.cell(cell).class;
        self.classes.get(class).unwrap_or(&self.classes[0])
    }
}

/// A tokenizer, and the file that it was read from.
type Loaded = (Arc<Tokenizer>, Option<InputFile>);

impl ClassPrompts {
    fn open(
        plan: &Plan,
        prompts: &PromptPlan,
        (tokenizer, tokenizer_file): Loaded,
    ) -> Result<(Self, Vec<Warning>), Vec<PromptError>> {
        let (text, mut warnings) = if prompts.kind == crate::plan::PromptKind::Synthetic {
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

    fn prompt(&self, number: u64) -> Result<Prompt, PromptError> {
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

    fn check(&self, number: u64) -> Result<Option<LengthCheck>, PromptError> {
        match &self.text {
            TextSource::Synthetic(synthetic) if number.is_multiple_of(CHECKED_ONE_IN) => {
                let Made { text, made: asked, .. } = synthetic.text(number)?;
                Ok(Some(LengthCheck { asked, counted: self.tokenizer.count(&text)? }))
            }
            TextSource::Synthetic(_) | TextSource::Dataset(_) => Ok(None),
        }
    }

    fn wraps_at(&self) -> Option<u64> {
        match &self.text {
            TextSource::Synthetic(_) => None,
            TextSource::Dataset(dataset) => Some(dataset.len()),
        }
    }

    fn inputs(&self) -> Vec<InputFile> {
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

    fn count(&self, text: &str, answer: &Answer) -> Result<Counts, TokenizerError> {
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
    fn ordered(&self, number: u64, recorded: Option<u32>) -> Option<u32> {
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
            format!("{requests} requests use {records} prompts, which repeat: {advice}"),
        ))
    }
}

fn tokenizer(choice: &TokenizerChoice) -> Result<Loaded, TokenizerError> {
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

#[cfg(test)]
mod tests;
