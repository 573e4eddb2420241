//! What is asked, from the configuration.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use super::build::Builder;
use super::{
    FileFormat, LengthPlan, OutputLengths, PlanError, PromptKind, PromptPlan, SaltPlacement,
    TokenizerChoice,
};

/// The keys that name a data set.
const FILES: [&str; 3] = ["prompts.file", "prompts.dataset", "load.dataset"];

/// The keys of one section of lengths.
struct LengthKeys {
    section: &'static str,
    mean: &'static str,
    stddev: &'static str,
    min: &'static str,
    max: &'static str,
}

const INPUT: LengthKeys = LengthKeys {
    section: "prompts.inputLength",
    mean: "prompts.inputLength.mean",
    stddev: "prompts.inputLength.stddev",
    min: "prompts.inputLength.min",
    max: "prompts.inputLength.max",
};

const OUTPUT: LengthKeys = LengthKeys {
    section: "prompts.outputLength",
    mean: "prompts.outputLength.mean",
    stddev: "prompts.outputLength.stddev",
    min: "prompts.outputLength.min",
    max: "prompts.outputLength.max",
};

impl Builder<'_> {
    /// The part of the plan about prompts.
    pub(super) fn prompts(&mut self) -> Option<PromptPlan> {
        let kind = self.prompt_kind();
        let prefix_ratio = self.prefix_ratio();
        let input_length = self.lengths(&INPUT, LengthPlan::INPUT);
        let output_length = self.output_lengths(kind.as_ref());
        let kind = kind?;
        let synthetic = kind == PromptKind::Synthetic;
        if !synthetic && prefix_ratio >= 1.0 {
            self.refuse(PlanError::WholePrefix);
        }
        self.warn_of_idle_prompt_keys(synthetic);
        Some(PromptPlan {
            kind,
            input_length: input_length?,
            output_length: output_length?,
            prefix_ratio,
            max_input_tokens: if synthetic { None } else { self.tokens(INPUT.max) },
            tokenizer: self.tokenizer(),
            salt: if self.config.text("prompts.salt") == Some("prepend") {
                SaltPlacement::Prepend
            } else {
                SaltPlacement::None
            },
            shuffle: self.config.switch("prompts.shuffle"),
        })
    }

    fn prompt_kind(&mut self) -> Option<PromptKind> {
        let file = self.file();
        match self.kind_word() {
            "file" => {
                let path = self.named(file, "file", "prompts.file")?;
                let format = file_format(&path);
                if format.is_none() {
                    self.refuse(PlanError::FileFormat { path: path.clone() });
                }
                Some(PromptKind::File { path, format: format? })
            }
            "shareGPT" => {
                let key = if self.config.text("load.type") == Some("shareGPT") {
                    "load.dataset"
                } else {
                    "prompts.dataset"
                };
                self.named(file, "shareGPT", key).map(|path| PromptKind::ShareGpt { path })
            }
            _ => {
                if let Some((key, _)) = file {
                    let advice = "set `prompts.type` to file or shareGPT, or remove the file";
                    self.refuse(PlanError::Excluded {
                        first: key,
                        second: "prompts.type: synthetic",
                        advice,
                    });
                }
                Some(PromptKind::Synthetic)
            }
        }
    }

    /// `prompts.type`, or what the other keys imply.
    fn kind_word(&self) -> &'static str {
        match self.config.text("prompts.type") {
            Some("file") => "file",
            Some("shareGPT") => "shareGPT",
            Some(_) => "synthetic",
            None if self.config.text("load.type") == Some("shareGPT") => "shareGPT",
            None if self.config.has("prompts.dataset") || self.config.has("load.dataset") => {
                "shareGPT"
            }
            None if self.config.has("prompts.file") => "file",
            None => "synthetic",
        }
    }

    /// The one file that is named, by whichever key.
    fn file(&mut self) -> Option<(&'static str, PathBuf)> {
        let named: Vec<_> =
            FILES.into_iter().filter_map(|key| Some((key, self.config.path(key)?))).collect();
        let (first, path) = named.first()?.clone();
        if let Some((second, _)) = named.iter().find(|(_, other)| *other != path) {
            self.refuse(PlanError::TwoFiles { first, second });
        }
        Some((first, path))
    }

    fn named(
        &mut self,
        file: Option<(&'static str, PathBuf)>,
        kind: &'static str,
        key: &'static str,
    ) -> Option<PathBuf> {
        if file.is_none() {
            self.refuse(PlanError::NoFile { kind, key });
        }
        file.map(|(_, path)| path)
    }

    fn prefix_ratio(&mut self) -> f64 {
        let (load, prompts) =
            (self.config.number("load.prefixRatio"), self.config.number("prompts.prefixRatio"));
        if let (Some(load), Some(prompts)) = (load, prompts)
            && load != prompts
        {
            self.refuse(PlanError::TwoPrefixRatios { load, prompts });
        }
        load.or(prompts).unwrap_or(0.0)
    }

    fn output_lengths(&mut self, kind: Option<&PromptKind>) -> Option<OutputLengths> {
        if self.config.has(OUTPUT.mean) || kind == Some(&PromptKind::Synthetic) {
            return self.lengths(&OUTPUT, LengthPlan::OUTPUT).map(OutputLengths::Drawn);
        }
        for key in [OUTPUT.stddev, OUTPUT.min].into_iter().filter(|key| self.config.has(key)) {
            self.warn(
                "key_unused",
                format!(
                    "`{key}` has no effect without `{}`: the data set's own lengths are used",
                    OUTPUT.mean
                ),
            );
        }
        Some(OutputLengths::Recorded { max: self.tokens(OUTPUT.max) })
    }

    /// A mean that is given alone means exactly that length. Bounds alone pull the default mean inside.
    fn lengths(&mut self, keys: &LengthKeys, default: LengthPlan) -> Option<LengthPlan> {
        let min = self.tokens(keys.min).unwrap_or(NonZeroU32::MIN);
        let max = self.tokens(keys.max);
        let (lowest, highest) =
            (f64::from(min.get()), max.map_or(f64::MAX, |max| f64::from(max.get())));
        if let Some(max) = max.filter(|max| *max < min) {
            let (section, min, max) = (keys.section, min.get(), max.get());
            self.refuse(PlanError::LengthBounds { section, min, max });
            return None;
        }
        let configured = self.config.number(keys.mean);
        let mean = configured.unwrap_or_else(|| default.mean.min(highest).max(lowest));
        if !(lowest..=highest).contains(&mean) {
            let bounds =
                format!("{min} … {}", max.map_or_else(|| "∞".to_owned(), |max| max.to_string()));
            self.refuse(PlanError::Lengths { section: keys.section, mean, bounds });
            return None;
        }
        let default_stddev = if configured.is_some() { 0.0 } else { default.stddev };
        Some(LengthPlan {
            mean,
            stddev: self.config.number(keys.stddev).unwrap_or(default_stddev),
            min,
            max,
        })
    }

    fn tokens(&self, key: &str) -> Option<NonZeroU32> {
        self.config
            .integer(key)
            .and_then(|tokens| u32::try_from(tokens).ok())
            .and_then(NonZeroU32::new)
    }

    fn tokenizer(&self) -> TokenizerChoice {
        match self.config.text("prompts.tokenizer") {
            None | Some("bundled") => TokenizerChoice::Bundled,
            Some(path) => TokenizerChoice::File(PathBuf::from(path)),
        }
    }

    fn warn_of_idle_prompt_keys(&mut self, synthetic: bool) {
        const OF_DATA_SETS: [&str; 2] = ["prompts.salt", "prompts.shuffle"];
        const OF_SYNTHETIC: [&str; 3] = [INPUT.mean, INPUT.stddev, INPUT.min];
        let (keys, reason): (&[&str], _) = if synthetic {
            (&OF_DATA_SETS, "prompts are synthetic, and already different in every run")
        } else {
            (
                &OF_SYNTHETIC,
                "the data set's own lengths are used; only `prompts.inputLength.max` acts on it",
            )
        };
        for key in keys.iter().filter(|key| self.config.has(key)) {
            self.warn("key_unused", format!("`{key}` has no effect: {reason}"));
        }
    }
}

fn file_format(path: &Path) -> Option<FileFormat> {
    let ending = path.extension()?.to_str()?.to_ascii_lowercase();
    match ending.as_str() {
        "txt" => Some(FileFormat::Text),
        "jsonl" | "ndjson" => Some(FileFormat::JsonLines),
        "json" => Some(FileFormat::JsonList),
        "csv" => Some(FileFormat::Csv),
        _ => None,
    }
}
