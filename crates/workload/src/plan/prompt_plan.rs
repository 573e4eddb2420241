//! What is asked, from the configuration.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use super::build::Builder;
use super::{
    FileFormat, LengthPlan, OutputLengths, PlanError, PromptKind, PromptPlan, SaltPlacement,
    TextMaterial, TokenizerChoice,
};

/// The keys that name a data set.
const FILES: [&str; 3] = ["prompts.file", "prompts.dataset", "load.dataset"];

impl Builder<'_> {
    /// The part of the plan about prompts.
    pub(super) fn prompts(&mut self) -> Option<PromptPlan> {
        let kind = self.prompt_kind();
        let prefix_ratio = self.prefix_ratio();
        let input_length = match kind {
            Some(PromptKind::File { .. } | PromptKind::ShareGpt { .. }) => Some(LengthPlan::INPUT),
            Some(PromptKind::Synthetic) | None => {
                let fields = self.length_fields("prompts.inputLength");
                self.lengths(&fields, &LengthPlan::INPUT)
            }
        };
        let output_length = self.output_lengths(kind.as_ref());
        let kind = kind?;
        let synthetic = kind == PromptKind::Synthetic;
        let prefixes = self.prefixes(synthetic);
        if !synthetic && prefix_ratio >= 1.0 {
            self.refuse(PlanError::WholePrefix);
        }
        self.warn_of_idle_prompt_keys(synthetic);
        Some(PromptPlan {
            as_token_ids: self.as_token_ids(synthetic),
            text: if self.config.text("prompts.text") == Some("sonnets") {
                TextMaterial::Sonnets
            } else {
                TextMaterial::Words
            },
            token_scale: self.token_scale(),
            kind,
            input_length: input_length?,
            output_length: output_length?,
            prefix_ratio,
            prefixes: prefixes?,
            max_input_tokens: if synthetic { None } else { self.tokens("prompts.inputLength.max") },
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
        let fields = self.length_fields("prompts.outputLength");
        if fields.is_drawn() || kind == Some(&PromptKind::Synthetic) {
            return self.lengths(&fields, &LengthPlan::OUTPUT).map(OutputLengths::Drawn);
        }
        for name in ["stddev", "min"].into_iter().filter(|name| fields.has(name)) {
            self.warn(
                "key_unused",
                format!(
                    "`prompts.outputLength.{name}` has no effect without a mean or a distribution: the data set's own lengths are used"
                ),
            );
        }
        Some(OutputLengths::Recorded { max: self.tokens("prompts.outputLength.max") })
    }

    /// What is sent as token ids has as many tokens as ids, whoever counts.
    fn token_scale(&self) -> f64 {
        let configured = self.config.number("prompts.tokenScale").unwrap_or(1.0);
        if self.config.switch("prompts.asTokenIds") { 1.0 } else { configured }
    }

    /// Only what is made is known token by token; and ids mean something only to the model whose tokenizer made them.
    fn as_token_ids(&mut self, synthetic: bool) -> bool {
        let wanted = self.config.switch("prompts.asTokenIds");
        if wanted && !synthetic {
            let advice = "texts of a file or data set are sent as they are recorded; a body with `prompt: [1, 2, …]` may stand in the file";
            let (first, second) = ("prompts.asTokenIds", "a file of prompts");
            self.refuse(PlanError::Excluded { first, second, advice });
        }
        let of_any_model =
            self.tokenizer() == TokenizerChoice::Bundled && self.config.simulator().is_none();
        if wanted && of_any_model {
            self.warn("token_ids", "`prompts.asTokenIds` sends the ids of the bundled tokenizer (Qwen3's): another model reads another text of the same length, and refuses ids beyond its vocabulary; name its own `tokenizer.json` as `prompts.tokenizer`");
        }
        wanted
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
        const OF_SYNTHETIC: [&str; 8] = [
            "prompts.text",
            "prompts.tokenScale",
            "prompts.inputLength.distribution",
            "prompts.inputLength.mean",
            "prompts.inputLength.stddev",
            "prompts.inputLength.min",
            "prompts.inputLength.file",
            "prompts.inputLength.mixture",
        ];
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
