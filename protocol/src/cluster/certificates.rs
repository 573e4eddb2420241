//! Certificates for a fleet: an authority of its own, one certificate for the coordinator and one for all workers.
//!
//! The authority signs these and is forgotten: its key is written nowhere, so nobody can join the fleet by
//! signing more.

use std::{fs, io, os::unix::fs::OpenOptionsExt, path::Path};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

/// Certificates cannot be made or written.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A name is no host name, or the library fails.
    #[error("certificates cannot be made: {0}")]
    Make(#[from] rcgen::Error),
    /// A file cannot be written, or exists: keys are never overwritten.
    #[error("{path}: {source}")]
    Write {
        /// The file.
        path: String,
        /// The system's words.
        source: io::Error,
    },
}

/// What a fleet needs, in PEM.
pub struct Certificates {
    /// The authority's certificate: `ca.pem`.
    pub authority: String,
    /// The coordinator's certificate and key: `coordinator.pem`, `coordinator.key`.
    pub coordinator: (String, String),
    /// The workers' certificate and key: `worker.pem`, `worker.key`.
    pub worker: (String, String),
}

impl Certificates {
    /// For a coordinator that is reached by these names or addresses.
    ///
    /// # Errors
    /// A name that no certificate can have.
    pub fn generate(hosts: &[String]) -> Result<Self, CertificateError> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "tokenstorm fleet");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let coordinator = signed(&issuer, "tokenstorm coordinator", hosts)?;
        let worker = signed(&issuer, "tokenstorm worker", &[])?;
        Ok(Self { authority: issuer.pem(), coordinator, worker })
    }

    /// Writes them to a directory, which is made; keys are for their owner's eyes only.
    ///
    /// # Errors
    /// A file exists already or cannot be written.
    pub fn write(&self, directory: &Path) -> Result<(), CertificateError> {
        fs::create_dir_all(directory).map_err(|source| failed(directory, source))?;
        for (name, content, mode) in [
            ("ca.pem", &self.authority, 0o644),
            ("coordinator.pem", &self.coordinator.0, 0o644),
            ("coordinator.key", &self.coordinator.1, 0o600),
            ("worker.pem", &self.worker.0, 0o644),
            ("worker.key", &self.worker.1, 0o600),
        ] {
            let path = directory.join(name);
            let mut options = fs::OpenOptions::new();
            let file = options.write(true).create_new(true).mode(mode).open(&path);
            let written =
                file.and_then(|mut file| io::Write::write_all(&mut file, content.as_bytes()));
            written.map_err(|source| failed(&path, source))?;
        }
        Ok(())
    }
}

fn failed(path: &Path, source: io::Error) -> CertificateError {
    CertificateError::Write { path: path.display().to_string(), source }
}

fn signed(
    issuer: &CertifiedIssuer<'_, KeyPair>,
    name: &str,
    hosts: &[String],
) -> Result<(String, String), CertificateError> {
    let mut params = CertificateParams::new(hosts.to_vec())?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate()?;
    Ok((params.signed_by(&key, issuer)?.pem(), key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::Trust;

    #[test]
    fn what_is_written_can_be_used_and_is_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let made = Certificates::generate(&["coordinator.example".to_owned()]).unwrap();
        made.write(directory.path()).unwrap();
        let file = |name: &str| directory.path().join(name);
        for role in ["coordinator", "worker"] {
            let key = file(&format!("{role}.key"));
            assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
            Trust::from_files(&file("ca.pem"), &file(&format!("{role}.pem")), &key).unwrap();
        }
        assert!(matches!(made.write(directory.path()), Err(CertificateError::Write { .. })));
        let mixed =
            Trust::from_files(&file("ca.pem"), &file("worker.pem"), &file("coordinator.key"));
        assert!(mixed.is_err(), "another certificate's key");
        let missing = Trust::from_files(&file("none"), &file("worker.pem"), &file("worker.key"));
        assert!(missing.unwrap_err().to_string().contains("none"));
    }
}
