//! What is offered: configuration, plan, shards, schedules, prompts, tokenizers. Pure but for reading files.
