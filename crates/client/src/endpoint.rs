//! The address that is requested and the headers that go with each request, proved once.

use bytes::Bytes;
use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};
use http::uri::{Authority, Scheme, Uri};
use http::{Method, Request};
use metrics::TraceContext;
use workload::Target;

use crate::client::ClientError;
use crate::credentials::Credentials;

/// Headers that decide how bytes are framed or encoded: ours, or the measurement would read nonsense.
const OURS: [&str; 8] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) tls: bool,
    /// Without the brackets of an IPv6 address.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// As the `Host` header says it.
    pub(crate) authority: String,
    /// Path and query.
    pub(crate) path: Uri,
}

impl Endpoint {
    pub(crate) fn parse(url: &str) -> Result<Self, ClientError> {
        let unusable =
            |reason: &str| ClientError::Url { url: without_user(url), reason: reason.to_owned() };
        let uri: Uri =
            url.parse().map_err(|error: http::uri::InvalidUri| unusable(&error.to_string()))?;
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return Err(unusable("it must begin with http:// or https://")),
        };
        let authority = uri.authority().ok_or_else(|| unusable("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(unusable(
                "credentials do not belong into a URL: use `target.apiKeyFile` or OPENAI_API_KEY",
            ));
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            tls,
            host: bare_host(authority),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            path: path
                .parse()
                .map_err(|error: http::uri::InvalidUri| unusable(&error.to_string()))?,
        })
    }

    /// The list of models beside this address: `…/v1/chat/completions` → `…/v1/models`.
    pub(crate) fn models(&self) -> Self {
        let models = format!("{}/models", self.base().unwrap_or("/v1"));
        Self { path: models.parse().unwrap_or_default(), ..self.clone() }
    }

    /// Where the server counts tokens: `…/v1/chat/completions` → `…/tokenize`.
    pub(crate) fn tokenize(&self) -> Self {
        let base = self.base().unwrap_or_default();
        let tokenize = format!("{}/tokenize", base.strip_suffix("/v1").unwrap_or(base));
        Self { path: tokenize.parse().unwrap_or_default(), ..self.clone() }
    }

    /// What stands before the API's own path: `/v1`.
    fn base(&self) -> Option<&str> {
        let base = self.path.path().strip_suffix("/completions")?;
        Some(base.strip_suffix("/chat").unwrap_or(base))
    }
}

fn bare_host(authority: &Authority) -> String {
    authority.host().trim_start_matches('[').trim_end_matches(']').to_owned()
}

/// A URL with a password in it must not be repeated in an error.
fn without_user(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://…@{rest}"),
        _ => url.to_owned(),
    }
}

/// The headers of every request: ours, over them the target's, over those the credentials.
pub(crate) fn headers(
    target: &Target,
    endpoint: &Endpoint,
    credentials: &Credentials,
) -> Result<HeaderMap, ClientError> {
    let mut headers = HeaderMap::new();
    let accept = if target.stream { "text/event-stream" } else { "application/json" };
    set(&mut headers, HOST, &endpoint.authority, Shown::Yes)?;
    set(&mut headers, USER_AGENT, concat!("tokenstorm/", env!("CARGO_PKG_VERSION")), Shown::Yes)?;
    set(&mut headers, ACCEPT, accept, Shown::Yes)?;
    set(&mut headers, CONTENT_TYPE, "application/json", Shown::Yes)?;
    for (name, value) in &target.headers {
        set(&mut headers, checked(name)?, value, Shown::Yes)?;
    }
    if let Some(key) = &credentials.api_key {
        set(&mut headers, AUTHORIZATION, &format!("Bearer {}", key.trim()), Shown::Never)?;
    }
    for (name, value) in &credentials.headers {
        set(&mut headers, checked(name)?, value, Shown::Never)?;
    }
    Ok(headers)
}

/// What a request's head says.
#[derive(Debug)]
pub(crate) struct RequestHead<'a> {
    pub(crate) method: &'a Method,
    /// Path and query.
    pub(crate) path: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
    /// As `traceparent` after them.
    pub(crate) context: Option<&'a TraceContext>,
}

/// A request's head as it goes over the wire (RFC 9112 §3).
pub(crate) fn head(request: &RequestHead<'_>, body_bytes: usize) -> Bytes {
    let RequestHead { method, path, headers, context } = request;
    let mut head = Vec::with_capacity(HEAD_BYTES);
    head.extend_from_slice(format!("{method} {path} HTTP/1.1\r\n").as_bytes());
    for (name, value) in *headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    if let Some(context) = context {
        for part in [TRACEPARENT.as_bytes(), b": ", &context.traceparent(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    if **method != Method::GET {
        head.extend_from_slice(format!("content-length: {body_bytes}\r\n").as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    head.into()
}

/// The same as HTTP/2 has it (RFC 9113 §8.3): scheme and host stand in the address, the latter by the `Host` header,
/// which `target.headers` may have set.
pub(crate) fn head_of_http2(
    endpoint: &Endpoint,
    head: &RequestHead<'_>,
) -> Result<Request<()>, http::Error> {
    let RequestHead { method, path, headers, context } = head;
    let scheme = if endpoint.tls { Scheme::HTTPS } else { Scheme::HTTP };
    let path = path.path_and_query().map_or("/", |path| path.as_str());
    let host = headers.get(HOST).map_or(endpoint.authority.as_bytes(), HeaderValue::as_bytes);
    let address = Uri::builder().scheme(scheme).authority(host);
    let mut request = Request::new(());
    *request.method_mut() = (*method).clone();
    *request.uri_mut() = address.path_and_query(path).build()?;
    *request.headers_mut() = (*headers).clone();
    let _in_the_address = request.headers_mut().remove(HOST);
    if let Some(context) = context {
        let value = HeaderValue::from_bytes(&context.traceparent())?;
        let _before = request.headers_mut().insert(TRACEPARENT, value);
    }
    Ok(request)
}

/// Room for the head of a usual request.
const HEAD_BYTES: usize = 512;

/// W3C Trace Context, §3.2.
const TRACEPARENT: &str = "traceparent";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Yes,
    Never,
}

fn set(
    headers: &mut HeaderMap,
    name: HeaderName,
    value: &str,
    shown: Shown,
) -> Result<(), ClientError> {
    // The value is not repeated: it may be a credential.
    let mut header = HeaderValue::from_str(value).map_err(|_| ClientError::Header {
        name: name.to_string(),
        reason: "its value has a character that no header may have".to_owned(),
    })?;
    header.set_sensitive(shown == Shown::Never);
    let _before = headers.insert(name, header);
    Ok(())
}

fn checked(name: &str) -> Result<HeaderName, ClientError> {
    let unusable =
        |reason: &str| ClientError::Header { name: name.to_owned(), reason: reason.to_owned() };
    let header =
        HeaderName::from_bytes(name.as_bytes()).map_err(|_| unusable("it is no header's name"))?;
    if OURS.contains(&header.as_str()) {
        return Err(unusable("the client decides it: leave it out"));
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use workload::Api;

    use super::*;

    #[test]
    fn a_url_says_host_port_path_and_tls() {
        let endpoint = Endpoint::parse("https://[::1]:8443/v1/chat/completions?a=1").unwrap();
        assert_eq!((endpoint.tls, endpoint.host.as_str(), endpoint.port), (true, "::1", 8443));
        assert_eq!(endpoint.authority, "[::1]:8443");
        assert_eq!(endpoint.path, "/v1/chat/completions?a=1");
        let endpoint = Endpoint::parse("http://gateway").unwrap();
        assert_eq!((endpoint.tls, endpoint.port, endpoint.path.path()), (false, 80, "/"));
    }

    #[test]
    fn an_unusable_url_is_refused_and_no_password_repeated() {
        for url in ["gateway:80", "ftp://gateway/", "http://", "http://a b/"] {
            assert!(Endpoint::parse(url).is_err(), "{url}");
        }
        let error = Endpoint::parse("http://me:secret@gateway/").unwrap_err().to_string();
        assert!(error.contains("target.apiKeyFile") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn the_host_of_the_targets_headers_is_that_of_http2_too() {
        let endpoint = Endpoint::parse("http://127.0.0.1:8000/v1/completions").unwrap();
        let mut headers = HeaderMap::new();
        let mut address = |host| {
            let _before = headers.insert(HOST, HeaderValue::from_static(host));
            let head = RequestHead {
                method: &Method::POST,
                path: &endpoint.path,
                headers: &headers,
                context: None,
            };
            let request = head_of_http2(&endpoint, &head).unwrap();
            assert!(request.headers().is_empty());
            request.uri().to_string()
        };
        assert_eq!(address("127.0.0.1:8000"), "http://127.0.0.1:8000/v1/completions");
        assert_eq!(address("llama.example"), "http://llama.example/v1/completions");
    }

    #[test]
    fn a_request_that_has_a_name_in_traces_tells_it_over_both_versions_of_http() {
        const NAME: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let endpoint = Endpoint::parse("http://gateway/v1/completions").unwrap();
        let (headers, context) = (HeaderMap::new(), TraceContext::parse(NAME).unwrap());
        let named = |context| RequestHead {
            method: &Method::POST,
            path: &endpoint.path,
            headers: &headers,
            context,
        };
        let text = |context| String::from_utf8(head(&named(context), 2).to_vec()).unwrap();
        assert_eq!(
            text(Some(&context)),
            format!(
                "POST /v1/completions HTTP/1.1\r\ntraceparent: {NAME}\r\ncontent-length: 2\r\n\r\n"
            )
        );
        assert!(!text(None).contains("traceparent"));
        let request = head_of_http2(&endpoint, &named(Some(&context))).unwrap();
        assert_eq!(request.headers()["traceparent"], NAME);
    }

    #[test]
    fn the_models_stand_beside_the_completions() {
        let models = |url| Endpoint::parse(url).unwrap().models().path.to_string();
        assert_eq!(models("http://a/v1/chat/completions"), "/v1/models");
        assert_eq!(models("http://a/openai/v1/completions?x=1"), "/openai/v1/models");
        assert_eq!(models("http://a/generate"), "/v1/models");
    }

    #[test]
    fn tokens_are_counted_beside_the_api_and_not_in_it() {
        let tokenize = |url| Endpoint::parse(url).unwrap().tokenize().path.to_string();
        assert_eq!(tokenize("http://a/v1/chat/completions"), "/tokenize");
        assert_eq!(tokenize("http://a/openai/v1/completions?x=1"), "/openai/tokenize");
        assert_eq!(tokenize("http://a/generate"), "/tokenize");
    }

    #[test]
    fn credentials_win_and_framing_headers_are_refused() {
        let endpoint = Endpoint::parse("http://gateway/v1/completions").unwrap();
        let mut target = Target {
            url: "http://gateway/v1/completions".into(),
            api: Api::Completions,
            stream: true,
            model: None,
            model_is_chosen: false,
            headers: vec![("X-Tenant".into(), "a".into()), ("Accept".into(), "*/*".into())],
            extra_body: None,
            ignore_eos: false,
            min_tokens: false,
        };
        let credentials = Credentials { api_key: Some("k\n".into()), ..Credentials::default() };
        let made = headers(&target, &endpoint, &credentials).unwrap();
        assert_eq!(
            (&made["x-tenant"], &made["accept"]),
            (&"a".parse().unwrap(), &"*/*".parse().unwrap())
        );
        assert!(made[AUTHORIZATION].is_sensitive() && made[AUTHORIZATION] == "Bearer k");
        target.headers.push(("Content-Length".into(), "7".into()));
        let refused = headers(&target, &endpoint, &credentials).unwrap_err().to_string();
        assert!(refused.contains("Content-Length"), "{refused}");
    }
}
