//! Randomness of the system, for what must be unlike everything before it: salts, incarnations, cookies.

/// So many fresh bytes.
pub(crate) fn bytes<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    Ok(bytes)
}

/// A number of which any is as likely.
pub(crate) fn number() -> anyhow::Result<u64> {
    Ok(u64::from_le_bytes(bytes()?))
}

/// A secret of 32 bytes, as text.
pub(crate) fn secret() -> anyhow::Result<String> {
    Ok(bytes::<32>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}
