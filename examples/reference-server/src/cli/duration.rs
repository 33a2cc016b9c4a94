//! Spans of time as people type them.

use std::str::FromStr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// A span such as `90s`, `10m`, `1h30m` or `30d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a span of time; write 90s, 10m, 1h30m or 30d");
        let mut total = Duration::ZERO;
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(wrong());
        }
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at(digits);
            let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
            let (unit, tail) = tail.split_at(letters);
            let number: u64 = number.parse().map_err(|_| wrong())?;
            let seconds = match unit {
                "s" => 1,
                "m" => 60,
                "h" => 3600,
                "d" => 86_400,
                _ => return Err(wrong()),
            };
            let part = number.checked_mul(seconds).ok_or_else(wrong)?;
            total = total.checked_add(Duration::from_secs(part)).ok_or_else(wrong)?;
            rest = tail;
        }
        Ok(Self(total))
    }
}

/// A time: as it is, or so long ago.
pub fn since(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let Span(span) = text.parse()?;
    SignedDuration::try_from(span)
        .ok()
        .and_then(|span| now.checked_sub(span).ok())
        .ok_or_else(|| format!("{text:?} is too long ago"))
}

/// How long ago something was, short: `42s`, `5m`, `3h`, `12d`.
pub fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_people_write_them() {
        let seconds = |text: &str| text.parse::<Span>().map(|span| span.0.as_secs()).ok();
        assert_eq!(seconds("90s"), Some(90));
        assert_eq!(seconds("1h30m"), Some(5400));
        assert_eq!(seconds("30d"), Some(2_592_000));
        for wrong in ["", "10", "m", "-5m", "5 m", "1y", "99999999999999999999s", "999999999999999999d"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn since_takes_a_time_or_a_span() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        assert_eq!(since("10m", now).unwrap(), "2026-01-31T11:50:00Z".parse().unwrap());
        assert_eq!(since("2026-01-01T00:00:00Z", now).unwrap(), "2026-01-01T00:00:00Z".parse().unwrap());
        assert!(since("yesterday", now).is_err());
    }

    #[test]
    fn ages_are_short() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        let ago = |seconds: i64| age(now - SignedDuration::from_secs(seconds), now);
        assert_eq!([ago(0), ago(119), ago(300), ago(8_000), ago(400_000)], ["0s", "119s", "5m", "2h", "4d"]);
    }
}
