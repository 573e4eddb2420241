//! `tokenstorm certs`: what a fleet's members trust each other by.

use std::{fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt, path::PathBuf};

use anyhow::Context;
use protocol::Certificates;

use crate::{
    exit::{Exit, Stop},
    randomness, say,
};

/// What is made.
const FILES: [&str; 6] =
    ["ca.pem", "coordinator.pem", "coordinator.key", "worker.pem", "worker.key", "cookie"];

/// What `certs` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct CertsArgs {
    /// The folder that they are written to; nothing in it is overwritten
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// A name or address by which workers dial the coordinator
    #[arg(long, value_name = "NAME", required = true, num_args = 1..)]
    host: Vec<String>,
    /// Leave a folder alone that has them all
    #[arg(long)]
    if_missing: bool,
}

/// Writes an authority's certificate, one for the coordinator, one for the workers, and a cookie.
pub(crate) fn certs(arguments: &CertsArgs) -> anyhow::Result<Exit> {
    let path = |name: &str| arguments.out.join(name);
    if arguments.if_missing && FILES.iter().all(|name| path(name).exists()) {
        eprintln!("{} has them all already", arguments.out.display());
        return Ok(Exit::Ok);
    }
    if let Some(there) = FILES.iter().map(|name| path(name)).find(|path| path.exists()) {
        let line = format!("{} is there already, and nothing is overwritten", there.display());
        return Err(Stop::new(Exit::BadConfiguration, line).into());
    }
    let bad = |error: protocol::CertificateError| Stop::new(Exit::BadConfiguration, error);
    Certificates::generate(&arguments.host).map_err(bad)?.write(&arguments.out).map_err(bad)?;
    let cookie = path("cookie");
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&cookie)
        .with_context(|| cookie.display().to_string())?;
    writeln!(file, "{}", randomness::secret()?).with_context(|| cookie.display().to_string())?;
    let out = arguments.out.display();
    say(&format!(
        "coordinator: --ca {out}/ca.pem --cert {out}/coordinator.pem --key {out}/coordinator.key --cookie-file {out}/cookie\n\
         worker:      --ca {out}/ca.pem --cert {out}/worker.pem --key {out}/worker.key --cookie-file {out}/cookie"
    ))?;
    Ok(Exit::Ok)
}
