//! The configuration as it may be shown.
//!
//! What the command writes holds no credential. A report may be made of a file that somebody edited, and it travels
//! further than its directory: whatever is named like a credential is blotted out once more, line by line, without
//! trusting the file to be YAML.

/// Parts of names whose values are not shown.
const SECRETS: [&str; 8] =
    ["auth", "cookie", "credential", "apikey", "api_key", "api-key", "pass", "secret"];
/// Names that hold such a part, or `token`, and are no secret.
const HARMLESS: [&str; 8] = [
    "max_tokens",
    "min_tokens",
    "mintokens",
    "maxtokens",
    "tokenizer",
    "apikeyfile",
    "tokens",
    "aftertokens",
];

/// `yaml` with the values of what is named like a credential replaced.
pub(crate) fn redacted(yaml: &str) -> String {
    let mut text = String::with_capacity(yaml.len());
    let mut hidden_under = None;
    for line in yaml.lines() {
        let indent = line.len() - line.trim_start().len();
        if hidden_under.is_some_and(|under| indent > under) {
            continue;
        }
        hidden_under = None;
        match line.split_once(':') {
            Some((name, value)) if is_secret(name) => {
                text.push_str(name);
                text.push_str(": [redacted]");
                if value.trim().is_empty() || value.trim_start().starts_with(['|', '>']) {
                    hidden_under = Some(indent);
                }
            }
            _ => text.push_str(&inline(line)),
        }
        text.push('\n');
    }
    text
}

fn is_secret(name: &str) -> bool {
    let trimmed = name.trim().trim_start_matches("- ").trim_matches(['"', '\'']);
    let name = trimmed.to_ascii_lowercase();
    if HARMLESS.contains(&name.as_str()) {
        return false;
    }
    SECRETS.iter().any(|part| name.contains(part))
        || name.ends_with("token")
        || name.ends_with("key")
}

/// Members of a mapping in braces, which stands on one line.
fn inline(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    for member in line.split_inclusive(['{', ',']) {
        match member.split_once(':') {
            Some((name, value)) if line.contains('{') && is_secret(name) => {
                shown.push_str(name);
                shown.push_str(": [redacted]");
                if value.ends_with('{') {
                    return shown;
                }
                let content = value.trim_end_matches(['}', ',', ' ']).len();
                shown.push_str(&value[content..]);
            }
            _ => shown.push_str(member),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_like_a_credential_is_blotted_out() {
        let yaml = "target:\n  model: m\n  apiKey: sk-1\n  headers:\n    X-Auth: abc\n    Api-Key: |\n      k1\n      k2\n    \
                    accept: json\n  extraBody: {temperature: 0, password: p1, nested: {access_token: t1}}\n  minTokens: true\n";
        let shown = redacted(yaml);
        for secret in ["sk-1", "abc", "k1", "k2", "p1", "t1"] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
        for kept in ["model: m", "accept: json", "temperature: 0", "minTokens: true", "}}"] {
            assert!(shown.contains(kept), "{kept} not in {shown}");
        }
    }
}
