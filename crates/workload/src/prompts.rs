//! What each request asks: a pure function of (plan, number), made ahead of its due time.
//!
//! Synthetic prompts are made of words, exact in tokens; records of a data set are read by an index of
//! byte offsets, so that a file of any size takes little memory. Either way the prompt of a number is
//! the same on every worker.

mod class;
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

use metrics::Warning;

use crate::plan::{Plan, TokenizerChoice};
use crate::tokenizer::TokenizerError;
use class::{ClassPrompts, Loaded, tokenizer};

pub use error::PromptError;

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

/// What the prompts of a traffic class are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassText {
    /// After how many requests its data set starts again; `None` for synthetic prompts.
    pub wraps_at: Option<u64>,
    /// The name of the tokenizer that counts.
    pub tokenizer: String,
}

/// Makes the prompts of a run; shared by the threads that build requests.
#[derive(Debug)]
pub struct PromptSource {
    plan: Plan,
    /// One for each traffic class.
    classes: Vec<ClassPrompts>,
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

    /// What each class has prompts of, in the classes' order; of the run where there are none.
    pub fn by_class(&self) -> impl Iterator<Item = ClassText> {
        let classes = self.classes.iter().zip(self.plan.prompts_by_class());
        classes.map(|(class, prompts)| {
            let name = class.tokenizer.name();
            let tokenizer = match prompts.token_scale {
                1.0 => name.to_owned(),
                scale => format!("{name}; the server counts {scale} tokens where it counts 1"),
            };
            ClassText { wraps_at: class.wraps_at(), tokenizer }
        })
    }

    /// The name of the tokenizer that counts; of several, all of them.
    pub fn tokenizer_name(&self) -> String {
        let mut names: Vec<String> = Vec::new();
        for ClassText { tokenizer, .. } in self.by_class() {
            if !names.contains(&tokenizer) {
                names.push(tokenizer);
            }
        }
        names.join(", ")
    }

    fn class(&self, cell: u16) -> &ClassPrompts {
        let class = self.plan.cell(cell).class;
        self.classes.get(class).unwrap_or(&self.classes[0])
    }
}

#[cfg(test)]
mod tests;
