//! Numbers in as few bytes as they need: LEB128-64b9B, as HdrHistogram writes its counts.
//!
//! Seven bits a byte, the lowest first; all but the last byte have their highest bit set, and a ninth byte is whole.

const MOST_BYTES: usize = 9;

/// Appends a number.
pub(crate) fn put(bytes: &mut Vec<u8>, mut number: u64) {
    for _ in 1..MOST_BYTES {
        if number < 0x80 {
            break;
        }
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// The first number and what stands behind it; `None` where it is cut short.
pub(crate) fn take(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (place, &byte) in bytes.iter().enumerate().take(MOST_BYTES) {
        let last = place == MOST_BYTES - 1;
        let bits = if last { byte } else { byte & 0x7f };
        value |= u64::from(bits) << (7 * place);
        if last || byte & 0x80 == 0 {
            return Some((value, &bytes[place + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_put_is_taken(numbers in prop::collection::vec((any::<u64>(), 0_u32..64), 1..20)) {
            let mut bytes = Vec::new();
            let numbers: Vec<_> = numbers.into_iter().map(|(n, shift)| n >> shift).collect();
            numbers.iter().for_each(|&number| put(&mut bytes, number));
            let mut rest = &bytes[..];
            for &number in &numbers {
                let (taken, behind) = take(rest).unwrap();
                prop_assert_eq!(taken, number);
                rest = behind;
            }
            prop_assert_eq!(take(rest), None);
        }
    }
}
