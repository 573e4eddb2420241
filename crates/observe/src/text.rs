//! Prometheus' text format, read: names and values of one page of `/metrics`.
//!
//! Known quantities are sums over all instances, so labels are passed over, whatever is in their quotes. A line that is no
//! sample is counted: a page of a server in the middle of a restart may end anywhere, and what came before is still true.

/// One sample.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    /// The metric.
    pub(crate) name: String,
    /// NaN and infinities are passed over.
    pub(crate) value: f64,
}

/// The samples of a page, and how many lines were none.
pub(crate) fn samples(page: &str) -> (Vec<Sample>, usize) {
    let (mut all, mut broken) = (Vec::new(), 0);
    let lines = page.lines().map(str::trim).filter(|line| !line.is_empty());
    for line in lines.filter(|line| !line.starts_with('#')) {
        match sample(line) {
            Some(sample) if sample.value.is_finite() => all.push(sample),
            Some(_) => {}
            None => broken += 1,
        }
    }
    (all, broken)
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' ', '\t'])?;
    let (name, rest) = line.split_at(end);
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    if name.is_empty() || !name.chars().all(is_name) {
        return None;
    }
    let rest = match rest.strip_prefix('{') {
        Some(inside) => after_labels(inside)?,
        None => rest,
    };
    // A timestamp may follow; an exemplar of OpenMetrics too.
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), value })
}

/// What follows the closing brace.
fn after_labels(mut rest: &str) -> Option<&str> {
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some(after);
        }
        let (_name, after) = rest.split_once('=')?;
        rest = after_quoted(after.trim_start().strip_prefix('"')?)?;
    }
}

/// What follows the closing quote; `\\` and `\"` are a character each.
fn after_quoted(text: &str) -> Option<&str> {
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return text.get(at + 1..),
            '\\' => {
                let _escaped = characters.next()?;
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_as_servers_write_it() {
        let page = "# HELP vllm:num_requests_running Now.\n# TYPE vllm:num_requests_running gauge\n\
                    vllm:num_requests_running{engine=\"0\",model_name=\"a,b}\\\"\\\\\\n\"} 3.0\n\
                    up 1 1700000000000\nx_bucket{le=\"+Inf\",} 1e3 # {trace_id=\"1\"} 2\n";
        let (found, broken) = samples(page);
        assert_eq!((found.len(), broken), (3, 0));
        assert_eq!(found[0].name, "vllm:num_requests_running");
        assert_eq!([found[0].value, found[1].value, found[2].value], [3.0, 1.0, 1_000.0]);
    }

    #[test]
    fn what_is_no_sample_is_counted_and_the_rest_stays() {
        for broken in ["name", "name{a=\"b\" 1", "na-me 1", "name{a=b} 1", "name x", "<html>"] {
            assert_eq!(samples(&format!("{broken}\nup 1")).1, 1, "{broken}");
            assert_eq!(samples(&format!("{broken}\nup 1")).0.len(), 1, "{broken}");
        }
        assert_eq!(samples("name NaN\nname +Inf"), (Vec::new(), 0), "no figures, and no faults");
    }

    #[test]
    fn any_cut_of_a_page_is_read_without_a_fault() {
        let page = "a{b=\"c\\\"é\",d=\"\"} 1.5\nb 2\n";
        for cut in (0..page.len()).filter(|&cut| page.is_char_boundary(cut)) {
            let _ = samples(&page[..cut]);
        }
    }
}
