//! Whom a node trusts: peers with a certificate of the fleet's own authority, both ways.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Certificates cannot be used. Every one names its file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// A file is missing or holds something else.
    #[error("{file} cannot be used: {reason}")]
    File {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificates do not go together.
    #[error("the certificates cannot be used: {0}")]
    Unusable(String),
}

/// Our certificate and key, and the authority that signs everybody's.
#[derive(Clone)]
pub struct Trust {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Trust(…)")
    }
}

impl Trust {
    /// From three files in PEM.
    ///
    /// # Errors
    /// A file is missing or is not what it should be.
    pub fn from_files(
        authority: &Path,
        certificate: &Path,
        key: &Path,
    ) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        for one in certificates(authority)? {
            roots.add(one).map_err(|error| unusable_file(authority, error))?;
        }
        let (roots, chain) = (Arc::new(roots), certificates(certificate)?);
        let private =
            || PrivateKeyDer::from_pem_file(key).map_err(|error| unusable_file(key, error));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .build()
                .map_err(|error| TrustError::Unusable(error.to_string()))?;
        let unusable = |error: rustls::Error| TrustError::Unusable(error.to_string());
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), private()?)
            .map_err(unusable)?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, private()?)
            .map_err(unusable)?;
        Ok(Self { server: Arc::new(server), client: Arc::new(client) })
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.server).into()
    }

    pub(super) fn connector(&self) -> TlsConnector {
        Arc::clone(&self.client).into()
    }
}

/// The name that the coordinator's certificate must have.
pub(super) fn server_name(host: &str) -> std::io::Result<ServerName<'static>> {
    ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
    let found = read().map_err(|error| unusable_file(path, error))?;
    if found.is_empty() {
        return Err(unusable_file(path, "it holds no certificate in PEM"));
    }
    Ok(found)
}

fn unusable_file(path: &Path, reason: impl std::fmt::Display) -> TrustError {
    TrustError::File { file: path.display().to_string(), reason: reason.to_string() }
}
