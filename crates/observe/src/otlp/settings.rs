//! Where telemetry goes, by the variables that every OpenTelemetry SDK reads.
//!
//! The names and their meanings are those of <https://opentelemetry.io/docs/specs/otel/protocol/exporter/> and
//! `…/configuration/sdk-environment-variables/`. Headers may be credentials: they come from variables alone, and are shown nowhere.
//! One protocol is spoken, OTLP over HTTP in protobuf; what variables ask for beyond that is told, and not done.

use std::{fmt, path::PathBuf, time::Duration};

use percent_encoding::percent_decode_str;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

/// The specification's.
const PATIENCE: Duration = Duration::from_secs(10);
/// A run is short against the minute that the specification has.
const INTERVAL: Duration = Duration::from_secs(10);

/// See the module's documentation.
#[derive(Clone)]
pub struct OtlpSettings {
    pub(crate) traces: Option<Signal>,
    pub(crate) metrics: Option<Signal>,
    /// Attributes of whoever tells, over ours.
    pub(crate) resource: Vec<(String, String)>,
    pub(crate) interval: Duration,
    pub(crate) form: HistogramForm,
    /// What was asked for and is not done.
    pub(crate) problems: Vec<String>,
}

/// Where one kind of telemetry goes.
#[derive(Clone, Debug)]
pub(crate) struct Signal {
    pub(crate) url: String,
    pub(crate) headers: HeaderMap,
    pub(crate) timeout: Duration,
    pub(crate) gzip: bool,
    /// Certificates to trust in place of the system's.
    pub(crate) certificates: Option<PathBuf>,
}

/// In which buckets latencies are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HistogramForm {
    /// Those that the conventions name.
    Explicit,
    /// Base-2 exponential ones, as narrow as 160 of them can be.
    Exponential,
}

/// The values are as good as credentials.
impl fmt::Debug for OtlpSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("OtlpSettings")
            .field("traces", &self.traces.as_ref().map(|signal| &signal.url))
            .field("metrics", &self.metrics.as_ref().map(|signal| &signal.url))
            .field("interval", &self.interval)
            .field("form", &self.form)
            .finish_non_exhaustive()
    }
}

impl OtlpSettings {
    /// From an endpoint that was given (it goes before those of the variables) and the environment; `None` where neither names one,
    /// or `OTEL_SDK_DISABLED` turns what only variables ask for off.
    ///
    /// # Errors
    /// Every value that cannot be used, a line each.
    pub fn read(
        endpoint: Option<&str>,
        env: &[(String, String)],
    ) -> Result<Option<Self>, Vec<String>> {
        let mut reader = Reader { env, refused: Vec::new(), problems: Vec::new() };
        if endpoint.is_none() && reader.word("OTEL_SDK_DISABLED").as_deref() == Some("true") {
            return Ok(None);
        }
        let traces = reader.signal(endpoint, "TRACES", "v1/traces");
        let metrics = reader.signal(endpoint, "METRICS", "v1/metrics");
        let settings = Self {
            resource: reader.resource(),
            interval: reader.milliseconds("OTEL_METRIC_EXPORT_INTERVAL").unwrap_or(INTERVAL),
            form: reader.form(),
            traces,
            metrics,
            problems: reader.problems,
        };
        if !reader.refused.is_empty() {
            return Err(reader.refused);
        }
        let nothing = settings.traces.is_none() && settings.metrics.is_none();
        Ok((!nothing || !settings.problems.is_empty()).then_some(settings))
    }

    /// With another time between two exports of metrics.
    #[must_use]
    pub fn every(self, interval: Option<Duration>) -> Self {
        Self { interval: interval.unwrap_or(self.interval), ..self }
    }

    /// Whether spans are wanted.
    #[must_use]
    pub fn wants_spans(&self) -> bool {
        self.traces.is_some()
    }

    /// For another exporter of the same process: what is wrong with them is told by one.
    #[must_use]
    pub fn without_problems(&self) -> Self {
        Self { problems: Vec::new(), ..self.clone() }
    }

    /// Where it goes, for people: without a query, in which there may be a key. `None`: nowhere, for the problems' sake.
    #[must_use]
    pub fn endpoint(&self) -> Option<String> {
        let url = self.traces.as_ref().or(self.metrics.as_ref())?.url.as_str();
        let url = url.split('?').next().unwrap_or_default();
        let base = ["/v1/traces", "/v1/metrics"].iter().find_map(|path| url.strip_suffix(path));
        Some(base.unwrap_or(url).to_owned())
    }
}

struct Reader<'a> {
    env: &'a [(String, String)],
    refused: Vec<String>,
    problems: Vec<String>,
}

impl Reader<'_> {
    /// An empty one is as good as none, as the specification has it.
    fn text(&self, name: &str) -> Option<&str> {
        let found = self.env.iter().rfind(|(known, _)| known == name);
        found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    }

    fn word(&self, name: &str) -> Option<String> {
        self.text(name).map(str::to_ascii_lowercase)
    }

    /// The value for one kind of telemetry, else that for all, with the variable's name.
    fn of_signal(&self, kind: &str, what: &str) -> Option<(String, String)> {
        let own = format!("OTEL_EXPORTER_OTLP_{kind}_{what}");
        let all = format!("OTEL_EXPORTER_OTLP_{what}");
        [own, all].into_iter().find_map(|name| {
            let value = self.text(&name)?.to_owned();
            Some((name, value))
        })
    }

    fn signal(&mut self, endpoint: Option<&str>, kind: &str, path: &str) -> Option<Signal> {
        if self.word(&format!("OTEL_{kind}_EXPORTER")).as_deref() == Some("none") {
            return None;
        }
        let url = self.url(endpoint, kind, path)?;
        Some(Signal {
            url,
            headers: self.headers(kind),
            timeout: self.timeout(kind),
            gzip: self.of_signal(kind, "COMPRESSION").is_some_and(|(_, how)| how == "gzip"),
            certificates: self.of_signal(kind, "CERTIFICATE").map(|(_, path)| PathBuf::from(path)),
        })
    }

    /// A base has the signal's path added; an endpoint of one kind is used as it is.
    fn url(&mut self, endpoint: Option<&str>, kind: &str, path: &str) -> Option<String> {
        let below = |base: &str| format!("{}/{path}", base.trim_end_matches('/'));
        if let Some(base) = endpoint {
            return self.checked("the endpoint of OTLP", base).then(|| below(base));
        }
        let own = format!("OTEL_EXPORTER_OTLP_{kind}_ENDPOINT");
        let (name, url, complete) = match (self.text(&own), self.text(ALL)) {
            (Some(url), _) => (own, url.to_owned(), url.to_owned()),
            (None, Some(base)) => (ALL.to_owned(), base.to_owned(), below(base)),
            (None, None) => return None,
        };
        if let Some((variable, protocol)) = self.of_signal(kind, "PROTOCOL")
            && protocol != "http/protobuf"
        {
            let line = format!(
                "nothing is told to {}: {variable} is {protocol}, and only http/protobuf is spoken: set it, and the endpoint to the collector's port for HTTP (4318)",
                shown(&url),
            );
            // The same of traces and of metrics, where one variable speaks for both.
            if !self.problems.contains(&line) {
                self.problems.push(line);
            }
            return None;
        }
        self.checked(&name, &url).then_some(complete)
    }

    fn checked(&mut self, name: &str, url: &str) -> bool {
        let parsed = reqwest::Url::parse(url).ok();
        let usable = parsed.is_some_and(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
        });
        if !usable {
            self.refuse_once(format!(
                "{name} is {}: give a URL with http:// or https:// and no credentials, such as http://127.0.0.1:4318",
                shown(url)
            ));
        }
        usable
    }

    /// `name=value,…`, values percent-encoded. A value is never repeated.
    fn headers(&mut self, kind: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let Some((variable, text)) = self.of_signal(kind, "HEADERS") else { return headers };
        for pair in pairs(&text) {
            let header = pair.and_then(|(name, value)| {
                let mut value = HeaderValue::from_str(&value).ok()?;
                value.set_sensitive(true);
                Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value))
            });
            match header {
                Some((name, value)) => _ = headers.insert(name, value),
                None => self.refuse_once(format!(
                    "{variable} holds what is no header (not shown here): give name=value, separated by commas, values percent-encoded"
                )),
            }
        }
        headers
    }

    fn timeout(&mut self, kind: &str) -> Duration {
        let name = self.of_signal(kind, "TIMEOUT").map(|(name, _)| name);
        name.and_then(|name| self.milliseconds(&name)).unwrap_or(PATIENCE)
    }

    fn milliseconds(&mut self, name: &str) -> Option<Duration> {
        let text = self.text(name)?.to_owned();
        match text.parse() {
            Ok(milliseconds) if milliseconds > 0 => Some(Duration::from_millis(milliseconds)),
            Ok(_) | Err(_) => {
                self.refuse_once(format!("{name} is {text}: give a whole number of milliseconds"));
                None
            }
        }
    }

    fn resource(&mut self) -> Vec<(String, String)> {
        const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
        let text = self.text(ATTRIBUTES).unwrap_or_default().to_owned();
        let mut attributes = Vec::new();
        for pair in pairs(&text) {
            match pair {
                Some(pair) => attributes.push(pair),
                None => self.refuse_once(format!(
                    "{ATTRIBUTES} is {text}: give name=value, separated by commas"
                )),
            }
        }
        // It goes before a `service.name` among them.
        let name =
            self.text("OTEL_SERVICE_NAME").map(|name| ("service.name".to_owned(), name.to_owned()));
        attributes.extend(name);
        attributes
    }

    fn form(&self) -> HistogramForm {
        const FORM: &str = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION";
        match self.word(FORM).as_deref() {
            Some("base2_exponential_bucket_histogram") => HistogramForm::Exponential,
            Some(_) | None => HistogramForm::Explicit,
        }
    }

    /// What both kinds of telemetry read is wrong once.
    fn refuse_once(&mut self, line: String) {
        if !self.refused.contains(&line) {
            self.refused.push(line);
        }
    }
}

const ALL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// A user part or a query may be a secret.
fn shown(url: &str) -> &str {
    if url.contains(['@', '?']) { "not usable (not shown here)" } else { url }
}

/// The pairs of a list; `None` for what is none.
fn pairs(text: &str) -> impl Iterator<Item = Option<(String, String)>> {
    text.split(',').map(str::trim).filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        let name = name.trim();
        (!name.is_empty()).then(|| (name.to_owned(), value.into_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        endpoint: Option<&str>,
        env: &[(&str, &str)],
    ) -> Result<Option<OtlpSettings>, Vec<String>> {
        let env: Vec<_> =
            env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        OtlpSettings::read(endpoint, &env)
    }

    fn urls(endpoint: Option<&str>, env: &[(&str, &str)]) -> [Option<String>; 2] {
        let settings = read(endpoint, env).unwrap().unwrap();
        [settings.traces, settings.metrics].map(|signal| signal.map(|signal| signal.url))
    }

    fn both(base: &str) -> [Option<String>; 2] {
        [Some(format!("{base}/v1/traces")), Some(format!("{base}/v1/metrics"))]
    }

    #[test]
    fn nobody_is_told_where_nobody_is_named() {
        assert!(read(None, &[]).unwrap().is_none());
        assert!(read(None, &[("OTEL_EXPORTER_OTLP_ENDPOINT", "  ")]).unwrap().is_none());
        let off = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"), ("OTEL_SDK_DISABLED", "true")];
        assert!(read(None, &off).unwrap().is_none());
        assert_eq!(urls(Some("http://d"), &off), both("http://d"), "what was given stays");
    }

    #[test]
    fn a_base_has_paths_added_and_an_endpoint_of_its_own_kind_has_not() {
        assert_eq!(urls(None, &[(ALL, "http://c:4318/")]), both("http://c:4318"));
        let own =
            [(ALL, "http://c:4318"), ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m/otlp")];
        assert_eq!(urls(None, &own)[1].as_deref(), Some("http://m/otlp"));
        assert_eq!(urls(Some("https://given/x"), &own), both("https://given/x"));
        let none = [(ALL, "http://c"), ("OTEL_TRACES_EXPORTER", "none")];
        assert_eq!(urls(None, &none)[0], None);
        assert_eq!(read(None, &none).unwrap().unwrap().endpoint().unwrap(), "http://c");
    }

    #[test]
    fn headers_are_decoded_and_never_shown() {
        let env = [
            (ALL, "http://c"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-team=a%20b, authorization=Bearer%20hush"),
        ];
        let settings = read(None, &env).unwrap().unwrap();
        let headers = &settings.traces.as_ref().unwrap().headers;
        assert_eq!(
            (&headers["x-team"], &headers["authorization"]),
            (&"a b".parse().unwrap(), &"Bearer hush".parse().unwrap())
        );
        assert!(!format!("{settings:?} {:?}", settings.traces).contains("hush"));
        let bad = [(ALL, "http://c"), ("OTEL_EXPORTER_OTLP_HEADERS", "hush")];
        let refused = read(None, &bad).unwrap_err();
        assert!(refused.len() == 1 && !refused[0].contains("hush="), "{refused:?}");
        assert!(refused[0].contains("OTEL_EXPORTER_OTLP_HEADERS"));
    }

    #[test]
    fn what_is_not_spoken_is_told_and_does_not_stop_a_run() {
        let env = [(ALL, "http://c:4317"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
        let settings = read(None, &env).unwrap().unwrap();
        assert!(settings.traces.is_none() && settings.metrics.is_none());
        assert_eq!((settings.problems.len(), settings.endpoint()), (1, None));
        assert!(settings.problems[0].contains("grpc") && settings.problems[0].contains("4318"));
        assert!(settings.without_problems().problems.is_empty());
        assert_eq!(
            urls(Some("http://c:4318"), &env),
            both("http://c:4318"),
            "given for this program"
        );
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_its_name() {
        for url in ["127.0.0.1:4318", "ftp://c", "http://", "http://me:hush@c"] {
            let refused = read(Some(url), &[]).unwrap_err();
            assert!(refused[0].contains("OTLP") && !refused[0].contains("hush"), "{refused:?}");
            assert_eq!(refused.len(), 1, "both signals have it from one place");
        }
        let env = [(ALL, "http://c"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")];
        assert_eq!(read(None, &env).unwrap_err().len(), 1);
        let env = [(ALL, "http://c"), ("OTEL_RESOURCE_ATTRIBUTES", "no pair")];
        assert!(read(None, &env).unwrap_err()[0].contains("OTEL_RESOURCE_ATTRIBUTES"));
    }

    #[test]
    fn times_forms_and_names_are_the_variables() {
        let env = [
            (ALL, "http://c"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "2500"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "700"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "300"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            (
                "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
                "base2_exponential_bucket_histogram",
            ),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=x,deployment.environment.name=lab%2C1"),
            ("OTEL_SERVICE_NAME", "storm"),
        ];
        let settings = read(None, &env).unwrap().unwrap();
        let (traces, metrics) =
            (settings.traces.as_ref().unwrap(), settings.metrics.as_ref().unwrap());
        assert_eq!((traces.timeout.as_millis(), metrics.timeout.as_millis()), (300, 700));
        assert!(traces.gzip && metrics.gzip);
        assert_eq!(
            (settings.interval.as_millis(), settings.form),
            (2_500, HistogramForm::Exponential)
        );
        let named = |(name, value): &(String, String)| format!("{name}={value}");
        let resource: Vec<_> = settings.resource.iter().map(named).collect();
        assert_eq!(
            resource,
            ["service.name=x", "deployment.environment.name=lab,1", "service.name=storm"]
        );
        assert_eq!(settings.every(Some(Duration::from_secs(1))).interval.as_secs(), 1);
    }
}
