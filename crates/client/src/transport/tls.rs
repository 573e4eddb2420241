//! Whom a TLS connection trusts: the machine's roots, those of `target.caFile`, or, by explicit choice,
//! anybody.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use workload::HttpVersion;

/// TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("{0}")]
    CaFile(String),
    #[error("no certificate authority is known: set `target.caFile` ({0})")]
    NoRoots(String),
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// The configuration of all connections of a lane; it speaks one version of HTTP only.
pub(crate) fn tls_config(
    ca_file: Option<&Path>,
    insecure_skip_verify: bool,
    http: HttpVersion,
) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let mut config = if insecure_skip_verify {
        let anybody = Arc::new(Anybody(provider));
        builder.dangerous().with_custom_certificate_verifier(anybody).with_no_client_auth()
    } else {
        builder.with_root_certificates(roots(ca_file)?).with_no_client_auth()
    };
    config.alpn_protocols = vec![match http {
        HttpVersion::Http1 => b"http/1.1".to_vec(),
        HttpVersion::Http2 { .. } => b"h2".to_vec(),
    }];
    Ok(Arc::new(config))
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca_file {
        for certificate in certificates(path)? {
            roots.add(certificate)?;
        }
    }
    let machine = rustls_native_certs::load_native_certs();
    let (_added, _unusable) = roots.add_parsable_certificates(machine.certs);
    if roots.is_empty() {
        let errors: Vec<_> = machine.errors.iter().map(ToString::to_string).collect();
        return Err(TlsError::NoRoots(errors.join(", ")));
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
    let unusable =
        |reason: String| TlsError::CaFile(format!("`target.caFile` {} {reason}", path.display()));
    let certificates = read().map_err(|error| unusable(format!("cannot be read: {error}")))?;
    if certificates.is_empty() {
        return Err(unusable("holds no certificate in PEM".to_owned()));
    }
    Ok(certificates)
}

/// Accepts every certificate, but only handshakes that its key signed.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
