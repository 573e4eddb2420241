//! What coordinator and workers prove themselves with: a cookie and certificates.
//!
//! From files or the environment, never from the command line, which every user of a machine can read.

use std::{net::IpAddr, path::PathBuf};

use coordinator::Protection;
use protocol::{Cookie, Trust};

use crate::exit::{Exit, Stop};

/// The cookie itself, where no file is named.
pub(crate) const COOKIE_VARIABLE: &str = "TOKENSTORM_COOKIE";

/// The flags of both sides.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Trust (the cookie may stand in TOKENSTORM_COOKIE instead)")]
pub(crate) struct SecretArgs {
    /// A file with the fleet's cookie: at least 32 random characters
    #[arg(long, value_name = "FILE", env = "TOKENSTORM_COOKIE_FILE")]
    cookie_file: Option<PathBuf>,
    /// This side's certificate, in PEM
    #[arg(long, value_name = "FILE", env = "TOKENSTORM_CERT")]
    cert: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", env = "TOKENSTORM_KEY")]
    key: Option<PathBuf>,
    /// The authority's certificate, which has signed the other side's too
    #[arg(long, value_name = "FILE", env = "TOKENSTORM_CA")]
    ca: Option<PathBuf>,
    /// Speak to other machines without certificates or cookie
    #[arg(long)]
    insecure: bool,
}

/// What was given.
#[derive(Clone, Debug)]
pub(crate) struct Secrets {
    /// One that everybody knows, where none was given.
    pub(crate) cookie: Cookie,
    pub(crate) trust: Option<Trust>,
    pub(crate) protection: Protection,
}

impl SecretArgs {
    /// Reads the files.
    pub(crate) fn load(&self) -> Result<Secrets, Stop> {
        let (cookie, trust) = (self.cookie()?, self.trust()?);
        let protection = match (&cookie, &trust) {
            (Some(_), Some(_)) => Protection::Both,
            _ if self.insecure => Protection::Waived,
            _ => Protection::Lacking,
        };
        Ok(Secrets { cookie: cookie.unwrap_or_else(Cookie::insecure), trust, protection })
    }

    fn cookie(&self) -> Result<Option<Cookie>, Stop> {
        let read = match (&self.cookie_file, std::env::var(COOKIE_VARIABLE)) {
            (Some(path), _) => Cookie::from_file(path),
            (None, Ok(text)) => Cookie::new(&text),
            (None, Err(_)) => return Ok(None),
        };
        read.map(Some).map_err(unusable)
    }

    fn trust(&self) -> Result<Option<Trust>, Stop> {
        match (&self.ca, &self.cert, &self.key) {
            (None, None, None) => Ok(None),
            (Some(ca), Some(cert), Some(key)) => {
                Trust::from_files(ca, cert, key).map(Some).map_err(unusable)
            }
            _ => Err(unusable("--ca, --cert and --key go together: give all three or none")),
        }
    }
}

impl Secrets {
    /// Of a fleet that never leaves this machine.
    pub(crate) fn of_this_machine(cookie: Cookie) -> Self {
        Self { cookie, trust: None, protection: Protection::Lacking }
    }

    /// Whether that host may be dialled with them.
    pub(crate) fn suffice_for(&self, host: &str) -> Result<(), Stop> {
        let here = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        if here || self.protection != Protection::Lacking {
            return Ok(());
        }
        Err(unusable(format!(
            "{host} is another machine: give certificates and a cookie, or say --insecure"
        )))
    }
}

fn unusable(problem: impl ToString) -> Stop {
    Stop::new(Exit::BadConfiguration, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_machine_is_dialled_only_with_both_or_by_explicit_choice() {
        let with = |protection| Secrets { cookie: Cookie::insecure(), trust: None, protection };
        for here in ["localhost", "127.0.0.1", "127.9.9.9", "::1"] {
            assert!(with(Protection::Lacking).suffice_for(here).is_ok(), "{here}");
        }
        assert!(with(Protection::Lacking).suffice_for("10.0.0.1").is_err());
        assert!(with(Protection::Lacking).suffice_for("localhost.example").is_err());
        assert!(with(Protection::Both).suffice_for("10.0.0.1").is_ok());
        assert!(with(Protection::Waived).suffice_for("coordinator").is_ok());
    }

    #[test]
    fn a_certificate_without_its_key_is_refused() {
        let half = SecretArgs { cert: Some("c.pem".into()), ..SecretArgs::default() };
        let words = half.load().unwrap_err().to_string();
        assert!(words.contains("--ca, --cert and --key go together"), "{words}");
    }
}
