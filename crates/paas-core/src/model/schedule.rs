//! When a scheduled job runs.

use std::sync::LazyLock;

use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Fault;

/// The longest expression, in bytes.
const LONGEST: usize = 200;

/// The rules of the time zones that this build carries. Those of the machine are left alone, so that every server of a
/// platform counts the same times, and so that a binary needs no files beside it.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// When a component of the kind `scheduled_job` runs.
///
/// Where a time zone's clock is put forward, a time that does not exist runs at the first moment after the gap if the
/// expression names one time of day, and not at all if it names several. Where the clock is put back, a time that comes twice
/// runs once if the expression names one time of day, and twice otherwise, so that `*/5` goes on every five minutes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The times, as `crontab(5)` writes them: minute, hour, day of the month, month, day of the week. With six fields the
    /// first one is the second.
    pub cron: String,
    /// The time zone in which the times are counted, by its IANA name, such as `Europe/Berlin`.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// What happens when it is time and an earlier run is still under way.
    #[serde(default)]
    pub overlap: Overlap,
    /// How long after its time a run may still start, in seconds, because no server ran or no cluster could be reached. A
    /// time that is missed by more is skipped; of several missed ones only the latest runs.
    #[serde(default = "starting_deadline")]
    #[schemars(range(min = 1, max = 604_800))]
    pub starting_deadline_seconds: u32,
}

fn utc() -> String {
    "UTC".to_owned()
}

fn starting_deadline() -> u32 {
    300
}

/// What happens when it is time for a run and an earlier one of the same component is still under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Overlap {
    /// The time is skipped.
    #[default]
    Forbid,
    /// Both run.
    Allow,
    /// The earlier one is stopped, and the new one starts when it has been.
    Replace,
}

impl Schedule {
    /// The times, ready to be asked.
    ///
    /// # Errors
    /// A [`Fault`] at `cron` or `time_zone`.
    pub fn timetable(&self) -> Result<Timetable, Fault> {
        let cron = cron(&self.cron).map_err(|message| Fault::new("cron", message))?;
        let zone = zone(&self.time_zone).map_err(|message| Fault::new("time_zone", message))?;
        Ok(Timetable { cron, zone })
    }
}

/// The times of a schedule. They are whole seconds.
///
/// ```
/// use paas_core::model::{Overlap, Schedule};
///
/// let schedule: Schedule = serde_json::from_str(r#"{ "cron": "30 2 * * *", "time_zone": "Europe/Berlin" }"#)?;
/// assert_eq!((schedule.overlap, schedule.starting_deadline_seconds), (Overlap::Forbid, 300));
/// let next = schedule.timetable().unwrap().next_after("2026-01-01T12:00:00Z".parse()?);
/// assert_eq!(next, Some("2026-01-02T01:30:00Z".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Timetable {
    cron: Cron,
    zone: TimeZone,
}

impl Timetable {
    /// The first time after `at`, if there is any.
    pub fn next_after(&self, at: Timestamp) -> Option<Timestamp> {
        let found = self.cron.find_next_occurrence(&second(at)?.to_zoned(self.zone.clone()), false);
        found.ok().map(|found| found.timestamp())
    }

    /// The last time at or before `at`, if there is any.
    pub fn latest(&self, at: Timestamp) -> Option<Timestamp> {
        let found = self.cron.find_previous_occurrence(&second(at)?.to_zoned(self.zone.clone()), true);
        found.ok().map(|found| found.timestamp())
    }

    /// How many times there are after `after` and before `before`; counting ends at `most`.
    pub fn count_between(&self, after: Timestamp, before: Timestamp, most: usize) -> usize {
        std::iter::successors(self.next_after(after), |at| self.next_after(*at))
            .take_while(|at| *at < before)
            .take(most)
            .count()
    }
}

/// The second that has begun.
fn second(at: Timestamp) -> Option<Timestamp> {
    let whole = at.as_second() - i64::from(at.subsec_nanosecond() < 0);
    Timestamp::from_second(whole).ok()
}

/// Reads an expression.
///
/// # Errors
/// What is wrong with it and how to write it, as a sentence.
pub(super) fn cron(text: &str) -> Result<Cron, String> {
    const REMEDY: &str =
        "write minute, hour, day of the month, month and day of the week, such as \"*/5 * * * *\"";
    if text.len() > LONGEST {
        return Err(format!("the expression has {} bytes; at most {LONGEST} are allowed", text.len()));
    }
    let fields = text.split_whitespace().count();
    if !(5..=6).contains(&fields) {
        return Err(format!("{text:?} has not 5 fields, or 6 with seconds, but {fields}; {REMEDY}"));
    }
    let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
    parser.parse(text).map_err(|error| {
        let why = match error {
            CronError::InvalidPattern(why)
            | CronError::IllegalCharacters(why)
            | CronError::ComponentError(why) => why,
            other => other.to_string(),
        };
        // The library's own words, as the rest of a sentence.
        let why = why.trim_end_matches('.').replace("CronPattern", "it");
        let first = why.chars().next().unwrap_or_default().to_lowercase();
        let rest: String = why.chars().skip(1).collect();
        format!("{text:?} is no schedule: {first}{rest}; {REMEDY}")
    })
}

/// Finds a time zone.
///
/// # Errors
/// That there is none of this name, as a sentence.
pub(super) fn zone(name: &str) -> Result<TimeZone, String> {
    ZONES.get(name).map_err(|_| {
        format!(
            "{name:?} is not a time zone; write its IANA name, such as Europe/Berlin, or leave it out for UTC"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timetable(cron: &str, zone: &str) -> Timetable {
        let schedule = Schedule {
            cron: cron.to_owned(),
            time_zone: zone.to_owned(),
            overlap: Overlap::default(),
            starting_deadline_seconds: starting_deadline(),
        };
        schedule.timetable().unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// The times after `from`, and that going back finds the same ones.
    fn times(cron: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let timetable = timetable(cron, zone);
        let times: Vec<Timestamp> =
            std::iter::successors(timetable.next_after(at(from)), |it| timetable.next_after(*it))
                .take(count)
                .collect();
        for time in &times {
            assert_eq!(timetable.latest(*time), Some(*time), "{cron} at {time}");
            let a_little_later = time.checked_add(jiff::SignedDuration::from_millis(1)).unwrap();
            assert_eq!(timetable.latest(a_little_later), Some(*time), "{cron} after {time}");
        }
        for pair in times.windows(2) {
            let just_before = pair[1].checked_sub(jiff::SignedDuration::from_millis(1)).unwrap();
            assert_eq!(timetable.latest(just_before), Some(pair[0]), "{cron} before {}", pair[1]);
        }
        times.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_five_minutes_in_utc() {
        assert_eq!(
            times("*/5 * * * *", "UTC", "2026-01-01T23:52:10Z", 3),
            ["2026-01-01T23:55:00Z", "2026-01-02T00:00:00Z", "2026-01-02T00:05:00Z"]
        );
    }

    #[test]
    fn six_fields_begin_with_the_second() {
        assert_eq!(
            times("*/20 * * * * *", "UTC", "2026-01-01T00:00:00Z", 3),
            ["2026-01-01T00:00:20Z", "2026-01-01T00:00:40Z", "2026-01-01T00:01:00Z"]
        );
    }

    #[test]
    fn a_time_of_day_that_a_clock_skips_runs_right_after_the_gap() {
        // 2026-03-29, 02:00 to 03:00 does not exist in Berlin.
        assert_eq!(
            times("30 2 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z", 3),
            ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
        );
    }

    #[test]
    fn a_time_of_day_that_comes_twice_runs_once() {
        // 2026-10-25, 02:00 to 03:00 comes twice in Berlin.
        assert_eq!(
            times("30 2 * * *", "Europe/Berlin", "2026-10-23T12:00:00Z", 3),
            ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
        );
    }

    #[test]
    fn an_interval_goes_on_through_a_change_of_the_clock() {
        assert_eq!(
            times("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:15:00Z", 4),
            ["2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00Z"]
        );
        assert_eq!(
            times("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:15:00Z", 3),
            ["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"]
        );
    }

    #[test]
    fn missed_times_are_counted_up_to_a_bound() {
        let timetable = timetable("* * * * *", "UTC");
        let count =
            |most| timetable.count_between(at("2026-01-01T00:00:00Z"), at("2026-01-01T00:10:00Z"), most);
        assert_eq!(count(100), 9);
        assert_eq!(count(5), 5);
    }

    #[test]
    fn a_date_that_never_comes_has_no_next_time() {
        assert_eq!(timetable("0 0 30 2 *", "UTC").next_after(at("2026-01-01T00:00:00Z")), None);
    }
}
