//! Durations and amounts as Compose writes them.
//!
//! Source: Compose Specification, "Specifying durations" and "Specifying byte values".

use paas_core::{Bytes, Cpu};

/// `1m30s` in whole seconds, rounded up.
pub(super) fn seconds(text: &str) -> Result<u32, String> {
    const UNITS: [(&str, u64); 6] = [
        ("us", 1),
        ("ms", 1_000),
        ("s", 1_000_000),
        ("m", 60_000_000),
        ("h", 3_600_000_000),
        ("d", 86_400_000_000),
    ];
    let wrong = || format!("{text:?} is not a duration; write 30s or 1m30s");
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(0);
    }
    let mut micros: u64 = 0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(rest.len());
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == &rest[..letters]).ok_or_else(wrong)?;
        micros = number.checked_mul(*unit).and_then(|it| micros.checked_add(it)).ok_or_else(wrong)?;
        rest = &rest[letters..];
    }
    u32::try_from(micros.div_ceil(1_000_000)).map_err(|_| wrong())
}

/// `512m` or `1gb` in bytes; units are powers of 1024.
pub(super) fn bytes(text: &str) -> Result<Bytes, String> {
    const UNITS: [(&str, u32); 12] = [
        ("kib", 10),
        ("mib", 20),
        ("gib", 30),
        ("kb", 10),
        ("mb", 20),
        ("gb", 30),
        ("tb", 40),
        ("k", 10),
        ("m", 20),
        ("g", 30),
        ("t", 40),
        ("b", 0),
    ];
    let lower = text.trim().to_ascii_lowercase();
    let (suffix, shift) =
        UNITS.iter().find(|(suffix, _)| lower.ends_with(suffix)).copied().unwrap_or(("", 0));
    let number = lower[..lower.len() - suffix.len()].trim();
    let unit = match shift {
        10 => "Ki",
        20 => "Mi",
        30 => "Gi",
        40 => "Ti",
        _ => "",
    };
    format!("{number}{unit}")
        .parse()
        .map_err(|_| format!("{text:?} is not an amount of bytes; write 512m or 2gb"))
}

/// `0.5` processors.
pub(super) fn cpu(text: &str) -> Result<Cpu, String> {
    text.parse().map_err(|_| format!("{text:?} is not a number of processors; write 0.5 or 2"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_round_up_to_seconds() {
        for (text, expected) in
            [("1m30s", 90), ("500ms", 1), ("0", 0), ("1h", 3600), ("1s500ms", 2), ("0s", 0)]
        {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for wrong in ["", "10", "s", "1x", "-1s", "99999999999999999999s", "1d1"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn amounts_have_units_of_powers_of_1024() {
        for (text, expected) in [
            ("512m", 512 << 20),
            ("1gb", 1 << 30),
            ("1.5k", 1536),
            ("10b", 10),
            ("7", 7),
            ("64MiB", 64 << 20),
        ] {
            assert_eq!(bytes(text).map(Bytes::get), Ok(expected), "{text}");
        }
        assert!(bytes("lots").is_err());
        assert_eq!(cpu("0.5").map(Cpu::milli), Ok(500));
    }
}
